"""python only_own_packages.py SET [PACKAGE…]: the imports of an image's smoke check, with all
packages hidden that the image lacks, and the named ones.
"""

import runpy
import sys
import sysconfig
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SITE = Path(sysconfig.get_path("purelib"))


class Without:
    """An import finder that hides some top-level modules of the environment. Copies that a package
    has in a folder of its own (Ray's colorama) stay visible.
    """

    def __init__(self, finder: Any, hidden: set[str]) -> None:
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in self.hidden:
            return self.finder.find_spec(name, path, target)
        if self.finder is not PathFinder:
            return None
        elsewhere = [entry for entry in path or sys.path if Path(entry) != SITE]
        return PathFinder.find_spec(name, elsewhere, target)

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
