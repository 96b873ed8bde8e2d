"""The pipeline: from an English intermediate task to XTREME-R, on one screen.

Only short strings pass between components: the run's URI and ids. KFP's cache is off; xstilts skips
finished steps itself.
"""

from typing import Any

from kfp import dsl

from components.finetune.component import finetune
from components.plan.component import plan
from components.report.component import report, verdict
from components.score.component import score
from components.stage.component import build, stage
from pipelines.cluster_settings import (
    ClusterSettings,
    TaskSetup,
    cluster_setup,
    run_config,
    without_cache,
)


def pipeline(
    setup: TaskSetup = without_cache,
    batches: int = 2,
    groups: int = 1,
    config: dsl.PipelineConfig | None = None,
) -> Any:
    """The pipeline, with `setup` applied to every task; `batches` and `groups` run in parallel."""

    @dsl.pipeline(
        name="intermediate-to-xtreme-r",
        description="English intermediate tasks, zero-shot XTREME-R, effects",
        pipeline_config=config,
    )
    def intermediate_to_xtreme_r(run: str) -> str:
        """run: s3://bucket/prefix/runs/<run>, a folder with plan.yaml and run.json, or
        …/schedules/<name>, from which plan creates a new run each time. Tasks in a loop take `run`
        and the item only: KFP's local runner would replace other outputs by the item.
        """
        planned = setup(plan(run=run)).outputs
        with dsl.ParallelFor(planned["sources"], "data sources", batches) as batch:
            sourced = setup(stage(run=run, batch=batch)).set_display_name("prepare records")
        with dsl.ParallelFor(planned["builds"], "tiny models", batches) as batch:
            built = setup(build(run=run, batch=batch)).after(sourced)
        with dsl.ParallelFor(planned["encodings"], "encodings", batches) as batch:
            encoded = setup(stage(run=run, batch=batch)).after(built)
            encoded.set_display_name("encode")
        with dsl.ParallelFor(planned["groups"], "groups", groups) as group:
            trained = setup(finetune(run=run, group=group)).after(encoded)
            scored = setup(score(run=run, group=trained.output))
        done = setup(report(run=run, groups=dsl.Collected(scored.output)))
        return setup(verdict(run=run, reported=done.outputs["Output"])).output

    return intermediate_to_xtreme_r


def for_cluster(settings: ClusterSettings) -> Any:
    """The pipeline as a cluster runs it."""
    return pipeline(
        cluster_setup(settings), settings.batches, settings.groups or 1, run_config(settings)
    )


#: The pipeline as this machine runs it.
intermediate_to_xtreme_r = pipeline()
