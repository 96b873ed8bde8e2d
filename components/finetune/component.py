"""finetune: trains the models of one group on Ray Train. Succeeds once every step is done or
recorded as failed.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("finetune"), install_kfp_package=False)
def finetune(run: str, group: str) -> str:
    """Runs the finetune steps of a group and returns the group's id."""
    from components.launch.choose import launcher
    from components.orphan import end_with_parent
    from components.step_log import kept
    from xstilts.runs.actions import finetune

    end_with_parent()
    with kept(run, "finetune", group):
        finetune(run, group, launcher())
    return group
