"""stage: records and encodings of one batch; build: the tiny backbones of one, which needs
torch.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("stage"), install_kfp_package=False)
def stage(run: str, batch: str) -> str:
    """Does the steps of a batch that are not done; returns the batch's id."""
    from components.orphan import end_with_parent
    from xstilts.runs.actions import stage

    end_with_parent()
    stage(run, batch)
    return batch


# In the workers' image: it pre-trains a tiny backbone, for seconds and on CPU, so it takes no Ray.
@dsl.component(base_image=reference("finetune", "worker"), install_kfp_package=False)
def build(run: str, batch: str) -> str:
    """Builds the tiny backbones of a batch that are not done; returns the batch's id."""
    from components.orphan import end_with_parent
    from xstilts.runs.actions import stage

    end_with_parent()
    stage(run, batch)
    return batch
