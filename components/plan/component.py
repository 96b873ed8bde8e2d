"""plan: expands the run's plan into batches and groups."""

from typing import NamedTuple

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("plan"), install_kfp_package=False)
def plan(run: str) -> NamedTuple("Work", sources=list[str], encodings=list[str], groups=list[str]):  # type: ignore[valid-type]
    """Returns the ids of what the loops go over; the specs lie in the run's folder."""
    from collections import namedtuple

    from xstilts.run import plan

    work = plan(run)
    return namedtuple("Work", list(work))(*work.values())
