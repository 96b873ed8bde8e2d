"""finetune: the roads of one group, on Ray Train. Succeeds when every cell is settled, failed
ones included.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("finetune"), install_kfp_package=False)
def finetune(run: str, group: str) -> str:
    """Settles the finetune steps of a group; returns the group's id."""
    from components.launch.choose import launcher
    from components.orphan import end_with_parent
    from xstilts.runs.actions import finetune

    end_with_parent()
    finetune(run, group, launcher())
    return group
