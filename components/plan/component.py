"""plan: expands the run's plan into batches and groups, and returns the ids for the loops."""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("plan"), install_kfp_package=False)
def plan(run: str) -> str:
    """Expands the plan, writes the specs to the run's folder and returns the run's URI."""
    from xstilts.runs.actions import plan

    plan(run)
    return run


# Separate, because KFP's local runner can only loop over the single output of a task.
@dsl.component(base_image=reference("plan"), install_kfp_package=False)
def work(run: str, kind: str) -> list[str]:
    """Ids of the planned `sources`, `builds`, `encodings` or `groups`."""
    from xstilts.runs.folder import work

    return work(run, kind)
