"""report: effects, statistics and figures over all cells. verdict: fails the run if cells are
missing.
"""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("report"), install_kfp_package=False)
def report(
    run: str, groups: list[str], html: dsl.Output[dsl.HTML], markdown: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:  # fmt: skip
    """Writes the report to the run's folder and as artifacts."""
    from components.report.artifacts import write

    return write(run, html, markdown, metrics)


# Separate, because Kubeflow drops the artifacts of a failed task, and the report matters most then.
@dsl.component(base_image=reference("report"), install_kfp_package=False)
def verdict(run: str, reported: str) -> str:
    """Fails if the report names missing cells."""
    from components.report.artifacts import verdict

    return verdict(run)
