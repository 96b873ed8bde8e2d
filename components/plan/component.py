"""plan: expands the run's plan into batches and groups, and returns the ids for the loops."""

from typing import NamedTuple

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("plan"), install_kfp_package=False)
def plan(run: str) -> NamedTuple(  # type: ignore[valid-type]  # KFP reads the fields from here
    "Ids",
    [
        ("sources", list[str]),
        ("builds", list[str]),
        ("encodings", list[str]),
        ("groups", list[str]),
    ],
):
    """Expands the plan, writes the specs to the run's folder and returns their ids, one output for
    each loop.
    """
    from components.step_log import kept
    from xstilts.runs.actions import plan
    from xstilts.runs.folder import planned_ids

    with kept(run, "plan"):
        plan(run)
    ids = planned_ids(run)
    return ids["sources"], ids["builds"], ids["encodings"], ids["groups"]
