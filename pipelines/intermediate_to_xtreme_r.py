"""The pipeline: from an English intermediate task to XTREME-R, on one screen.

Only short strings pass between components: the run's URI and ids. Every task is our own to cache, never KFP's.
"""

from kfp import dsl

from components.finetune.component import finetune
from components.plan.component import plan, work
from components.report.component import report
from components.score.component import score
from components.stage.component import stage


@dsl.pipeline(name="intermediate-to-xtreme-r", description="English intermediate tasks, zero-shot XTREME-R, effects")
def intermediate_to_xtreme_r(run: str) -> str:
    """run: s3://bucket/prefix/runs/<run>, a folder with plan.yaml and run.json."""
    planned = plan(run=run).set_caching_options(False).output
    sources = work(run=planned, kind="sources").set_caching_options(False)
    with dsl.ParallelFor(items=sources.output, parallelism=2) as batch:
        sourced = stage(run=run, batch=batch).set_caching_options(False)
    encodings = work(run=planned, kind="encodings").set_caching_options(False)
    with dsl.ParallelFor(items=encodings.output, parallelism=2) as batch:
        encoded = stage(run=run, batch=batch).set_caching_options(False).after(sourced)
    groups = work(run=planned, kind="groups").set_caching_options(False)
    with dsl.ParallelFor(items=groups.output, parallelism=1) as group:
        trained = finetune(run=run, group=group).set_caching_options(False).after(encoded)
        scored = score(run=run, group=trained.output).set_caching_options(False)
    done = report(run=run, groups=dsl.Collected(scored.output)).set_caching_options(False)
    return done.outputs["Output"]
