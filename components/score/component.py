"""score: predictions of every model of a group in all languages. Succeeds once every step is done
or recorded as failed.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("score"), install_kfp_package=False)
def score(run: str, group: str) -> str:
    """Runs the score steps of a group and returns the group's id."""
    from components.launch.choose import launcher
    from components.orphan import end_with_parent
    from components.step_log import kept
    from xstilts.runs.actions import score

    end_with_parent()
    with kept(run, "score", group):
        score(run, group, launcher())
    return group
