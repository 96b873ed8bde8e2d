"""stage: records and encodings of one batch. build: the tiny backbones of one, which need torch."""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("stage"), install_kfp_package=False)
def stage(run: str, batch: str) -> str:
    """Runs the unfinished steps of a batch and returns the batch's id."""
    from components.orphan import end_with_parent
    from components.step_log import kept
    from xstilts.runs.actions import stage

    end_with_parent()
    with kept(run, "stage", batch):
        stage(run, batch)
    return batch


# In the worker image, without Ray: it pretrains a tiny backbone on CPU in seconds.
@dsl.component(base_image=reference("finetune", "worker"), install_kfp_package=False)
def build(run: str, batch: str) -> str:
    """Builds the unfinished tiny backbones of a batch and returns the batch's id."""
    from components.orphan import end_with_parent
    from components.step_log import kept
    from xstilts.runs.actions import stage

    end_with_parent()
    with kept(run, "build", batch):
        stage(run, batch)
    return batch
