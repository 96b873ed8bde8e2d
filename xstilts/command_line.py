"""The entry point of the command `xstilts`, installed from a wheel or from a checkout.

The pipeline, its components and the command line are top-level folders of the repository. A wheel
holds them inside `xstilts/_kfp`, since packages called `components` or `pipelines` at the top of a
site-packages folder would collide with other projects. Their code is the same in both places (the
images run it as `components.…`): only here the folder that holds them is put on the path.
"""

import os
import sys
from pathlib import Path


def kfp_folder() -> Path:
    """The folder that holds `pipelines`, `components` and `images`."""
    package = Path(__file__).resolve().parent
    return package / "_kfp" if (package / "_kfp" / "pipelines").is_dir() else package.parent


def main() -> int:
    """Runs the command line on this process's arguments; returns its exit code."""
    folder = str(kfp_folder())
    sys.path.insert(0, folder)
    # Components and Ray workers are processes of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    from pipelines.cli import main as command_line

    return command_line()
