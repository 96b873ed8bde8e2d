"""The store that a command reads: a cluster's, or that of local runs without starting anything by
hand.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipelines import cluster_runs
from pipelines.outages import Outages
from xstilts.errors import PlanError
from xstilts.store.store import Store


def require_runs(home: Path) -> None:
    """Raises PlanError if a folder has no local runs."""
    if not (home / "store").is_dir():
        raise PlanError(
            f"{home}: no local runs; set --home to the folder that `xstilts run` used (.xstilts by "
            "default), or --store to the store of a cluster"
        )


@contextlib.contextmanager
def opened_store(uri: str | None, home: Path) -> Iterator[Store]:
    """The store at a URI, or for None the one of the local runs in `home`, served while the body
    runs. PlanError if `home` has no runs.
    """
    if uri is not None:
        yield Outages().outlast(lambda: cluster_runs.open_store(uri))
        return
    home = home.resolve()
    require_runs(home)
    from pipelines.local_runner import store_at

    with store_at(None, home) as address:
        yield Store.open(address, cache=Path(os.environ["XSTILTS_CACHE"]))
