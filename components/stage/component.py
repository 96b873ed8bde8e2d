"""stage: records, tiny backbones and encodings of one batch."""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("stage"), install_kfp_package=False)
def stage(run: str, batch: str) -> str:
    """Does the steps of a batch that are not done; returns the batch's id."""
    from components.orphan import end_with_parent
    from xstilts.run import stage

    end_with_parent()
    stage(run, batch)
    return batch
