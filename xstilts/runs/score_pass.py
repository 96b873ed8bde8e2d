"""What one pass of scoring needs: the rows of a model's score steps, and the model."""

from collections.abc import Sequence

from xstilts.errors import XstiltsError
from xstilts.models.head_set import Heads
from xstilts.models.heads import AnswerLimit
from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.runs.memory_fit import scoring_budget
from xstilts.scoring.predict import Job, Predictor
from xstilts.scoring.vectors import FORMATS
from xstilts.step import Step
from xstilts.store.manifest import Manifest

#: Errors that are recorded as a step's failure; any other error ends the worker.
RECORDED = (RuntimeError, ValueError, KeyError, OSError, XstiltsError)


def jobs_of(loaded: LoadedBackbone, steps: Sequence[Step]) -> list[Job]:
    """The rows of a model's score steps, and of their pools."""
    loaded.fetch(steps)
    jobs = []
    for step in steps:
        format_, depth = step.spec["format"], step.spec.get("layer")
        head = int(step.spec.get("head", 0)) + _heads_before(loaded, step)
        limit = AnswerLimit(**step.spec["answer_limit"]) if format_ == "span" else None
        pooling = str(step.spec.get("pooling", "mean"))
        for language in step.spec["languages"]:
            rows, images = loaded.rows(f"test:{language}", step)
            has_pool = format_ in FORMATS
            queries = loaded.gold(step, language) if has_pool else None
            names = loaded.candidates(f"test:{language}", step) if has_pool else ()
            jobs.append(
                Job(
                    step.fingerprint, language, format_, rows, images, depth, queries, head,
                    names=names, answer_limit=limit, pooling=pooling,
                )
            )  # fmt: skip
        if "pool" in step.parents:
            names, rows = loaded.candidates("pool", step), loaded.rows("pool", step)[0]
            jobs.append(Job(step.fingerprint, "pool", format_, rows, names=names, pooling=pooling))
    return jobs


def _heads_before(loaded: LoadedBackbone, step: Step) -> int:
    """How many heads of the step's model `predictor_of` puts before those of the step's parent
    `heads`; 0 for a step that is answered by its model's own.
    """
    if "heads" not in step.parents:
        return 0
    return len(loaded.parent("finetune", step.parents["model"], step).step["spec"]["tasks"])


def checkpoints(manifest: Manifest | None) -> list[str]:
    """`selected`, and `last` if English dev selected other weights than the last."""
    return ["selected"] + (
        ["last"] if manifest is not None and "last.trainable.safetensors" in manifest.files else []
    )


def predictor_of(
    loaded: LoadedBackbone,
    manifest: Manifest | None,
    steps: Sequence[Step],
    checkpoint: str,
    budget: int | None = None,
) -> Predictor:
    """The loaded backbone with a model's weights; without a manifest, with its own. After the
    model's heads come those of an earlier training that its score steps have as parent `heads`.

    Args:
        loaded: The backbone.
        manifest: Of the model's finetune step.
        steps: Score steps of the model.
        checkpoint: `selected` or `last`.
        budget: Tokens per batch; None for what fits into this worker's memory.
    """
    prefix = "last." if checkpoint == "last" else ""
    loaded.reset(0)
    heads: Heads | None = None
    if manifest is not None:
        loaded.load(manifest, prefix)
        heads = Heads.load(manifest, loaded.store, loaded.backbone, prefix)
        for step in steps:
            if "heads" in step.parents:  # all continue the same one
                earlier = loaded.parent("finetune", step.parents["heads"], step)
                heads.extend(Heads.load(earlier, loaded.store, loaded.backbone))
                break
        heads = heads.to(loaded.device)
    loaded.backbone.eval()
    budget = scoring_budget(loaded.backbone, steps[0]) if budget is None else budget
    return Predictor(
        loaded.backbone, heads, loaded.processor, budget, loaded.device, loaded.scratch / "vectors"
    )
