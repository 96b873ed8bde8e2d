"""python only_own_packages.py SET [PACKAGE…]: the imports of an image's smoke check, with all
packages hidden that the image lacks, and the named ones.
"""

import runpy
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


class Without:
    """An import finder that hides some top-level modules."""

    def __init__(self, finder: Any, hidden: set[str]) -> None:
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return (
            None
            if name.partition(".")[0] in self.hidden
            else self.finder.find_spec(name, path, target)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def main(name: str, *absent: str) -> None:
    held = set((ROOT / "images" / "packages" / f"{name}.txt").read_text().split()) - set(absent)
    owners = {
        top: {canonicalize_name(d) for d in found}
        for top, found in packages_distributions().items()
    }
    hidden = {top for top, found in owners.items() if not found & held} - {
        "xstilts",
        "components",
        "pipelines",
        "images",
    }
    for module in [module for module in sys.modules if module.partition(".")[0] in hidden]:
        del sys.modules[module]
    sys.meta_path[:] = [
        Without(finder, hidden) for finder in sys.meta_path if hasattr(finder, "find_spec")
    ]
    sys.path.insert(0, str(ROOT))
    sys.argv = ["smoke", name, "cpu", "--imports"]
    runpy.run_module("images.smoke", run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
