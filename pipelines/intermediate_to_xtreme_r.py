"""The pipeline: from an English intermediate task to XTREME-R, on one screen.

Only short strings pass between components: the run's URI and ids. Every task is our own to cache,
never KFP's.
"""

from kfp import dsl

from components.finetune.component import finetune
from components.plan.component import plan, work
from components.report.component import report, verdict
from components.score.component import score
from components.stage.component import build, stage
from pipelines.cluster_settings import Dress, Settings, dressed, plain, run_config


def pipeline(
    dress: Dress = plain,
    batches: int = 2,
    groups: int = 1,
    config: dsl.PipelineConfig | None = None,
):
    """The pipeline with every task dressed; `batches` and `groups` run side by side."""

    @dsl.pipeline(
        name="intermediate-to-xtreme-r",
        description="English intermediate tasks, zero-shot XTREME-R, effects",
        pipeline_config=config,
    )
    def intermediate_to_xtreme_r(run: str) -> str:
        """run: s3://bucket/prefix/runs/<run>, a folder with plan.yaml and run.json; or
        …/schedules/<name>, of which plan makes a new run each time. A loop gets `run` and its
        item: KFP's local runner would put the item in the place of any other task's output.
        """
        planned = dress(plan(run=run)).output
        sources = dress(work(run=planned, kind="sources"))
        with dsl.ParallelFor(items=sources.output, parallelism=batches) as batch:
            sourced = dress(stage(run=run, batch=batch))
        builds = dress(work(run=planned, kind="builds"))
        with dsl.ParallelFor(items=builds.output, parallelism=batches) as batch:
            built = dress(build(run=run, batch=batch)).after(sourced)
        encodings = dress(work(run=planned, kind="encodings"))
        with dsl.ParallelFor(items=encodings.output, parallelism=batches) as batch:
            encoded = dress(stage(run=run, batch=batch)).after(built)
        roads = dress(work(run=planned, kind="groups"))
        with dsl.ParallelFor(items=roads.output, parallelism=groups) as group:
            trained = dress(finetune(run=run, group=group)).after(encoded)
            scored = dress(score(run=run, group=trained.output))
        done = dress(report(run=run, groups=dsl.Collected(scored.output)))
        return dress(verdict(run=run, reported=done.outputs["Output"])).output

    return intermediate_to_xtreme_r


def for_cluster(settings: Settings):
    """The pipeline as a cluster runs it."""
    return pipeline(dressed(settings), settings.batches, settings.groups, run_config(settings))


#: The pipeline as this machine runs it.
intermediate_to_xtreme_r = pipeline()
