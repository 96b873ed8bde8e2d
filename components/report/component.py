"""report: effects, statistics and figures over all cells; turns the run red when cells are missing, and only then."""

from kfp import dsl

from components.images import reference


@dsl.component(base_image=reference("report"), install_kfp_package=False)
def report(
    run: str, groups: list[str], html: dsl.Output[dsl.HTML], markdown: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:  # fmt: skip
    """Writes the report to the run's folder and as artifacts; raises when it names missing cells."""
    from components.report.artifacts import write

    return write(run, html, markdown, metrics)
