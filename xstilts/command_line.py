"""The entry point of the command `xstilts`, installed from a wheel or from a checkout.

The pipeline, its components and the command line are top-level folders of the repository. A wheel
holds them inside `xstilts/_kfp`, since packages called `components` or `pipelines` at the top of a
site-packages folder would collide with other projects. Their code is the same in both places (the
images run it as `components.…`): only here the folder that holds them is put on the path.
"""

import io
import os
import sys
from pathlib import Path


def kfp_folder() -> Path:
    """The folder that holds `pipelines`, `components` and `images`."""
    package = Path(__file__).resolve().parent
    return package / "_kfp" if (package / "_kfp" / "pipelines").is_dir() else package.parent


def prepare_streams() -> None:
    """Output that cannot fail: closed streams lead to /dev/null, and characters that the encoding
    of a terminal or a file does not have are written as escapes.
    """
    # Otherwise the next file that is opened gets the number of a closed stream, and the output of
    # child processes.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:  # it was closed
            stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def main() -> int:
    """Runs the command line on this process's arguments; returns its exit code."""
    prepare_streams()
    folder = str(kfp_folder())
    sys.path.insert(0, folder)
    # Components and Ray workers are processes of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    from pipelines.cli import main as command_line

    return command_line()
