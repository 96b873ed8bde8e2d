"""score: predictions of every model of a group, in all languages. Succeeds when every cell is
settled.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("score"), install_kfp_package=False)
def score(run: str, group: str) -> str:
    """Settles the score steps of a group; returns the group's id."""
    from components.launch.choose import launcher
    from components.orphan import end_with_parent
    from xstilts.runs.actions import score

    end_with_parent()
    score(run, group, launcher())
    return group
