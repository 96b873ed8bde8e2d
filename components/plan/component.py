"""plan: expands the run's plan into batches and groups, and hands out the ids that the loops go
over.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("plan"), install_kfp_package=False)
def plan(run: str) -> str:
    """Expands the plan; the specs lie in the run's folder. Returns the run's URI."""
    from xstilts.runs.actions import plan

    plan(run)
    return run


# A component of its own: KFP's local runner loops over a task's only output, and over nothing else.
@dsl.component(base_image=reference("plan"), install_kfp_package=False)
def work(run: str, kind: str) -> list[str]:
    """Ids of the planned `sources`, `builds`, `encodings` or `groups`."""
    from xstilts.runs.folder import work

    return work(run, kind)
