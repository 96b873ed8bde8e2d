"""report: effects, statistics and figures over all cells. verdict: turns the run red when cells
are missing.
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


# A component of its own: of one that fails, Kubeflow keeps no artifacts, and a red run is the one
# whose report is wanted.
@dsl.component(base_image=reference("report"), install_kfp_package=False)
def verdict(run: str, reported: str) -> str:
    """Fails when the report names missing cells."""
    from components.report.artifacts import verdict

    return verdict(run)
