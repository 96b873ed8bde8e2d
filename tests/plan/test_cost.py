"""The cost estimate: rows, FLOPs and steps, against numbers worked out by hand."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from statistics import fmean
from typing import Any, cast

import pytest

from xstilts.miniature.backbones import DEFAULTS
from xstilts.miniature.invented_languages import LANGUAGES
from xstilts.miniature.splits import Sizes, splits
from xstilts.models.published import PUBLISHED
from xstilts.plan.cost import Cost, Model, estimate, model, models, step_cost, step_costs
from xstilts.plan.cost_assumptions import assumed, utilisation
from xstilts.plan.cost_rows import Lookup, Picture, Row, in_windows, row_of, scoring, training
from xstilts.plan.expansion import Expansion
from xstilts.plan.miniature_sizes import LENGTHS, POOL, ROWS, built_config, miniature_rows
from xstilts.plan.model_shape import shape_of
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, RowEstimate, Task

Expanded = Callable[..., Expansion]

#: A Llama with 1,280 parameters in the matrices of its two layers (4 × 64 + 3 × 128 each).
LLAMA = {
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 100,
}  # fmt: skip
SMALL = Model("small", shape_of(LLAMA))
PICTURE = Picture(tokens=576, patches=577, tokens_beside=100, patches_beside=101)
ESTIMATE = RowEstimate(text=120, segments=4, lm=40, answer=5, images=1)


@pytest.mark.parametrize(
    ("estimate", "arguments", "row"),
    [
        # With a head, each of the four choices shows the picture; the tower computes it once.
        (ESTIMATE, {"objective": "head", "picture": PICTURE}, Row(120, 4 * 576, 577, 0, 4)),
        (ESTIMATE, {"objective": "lm", "picture": PICTURE}, Row(40, 576, 577, 5, 1)),
        (ESTIMATE, {"objective": "lm", "picture": PICTURE, "most_tokens": 500}, Row(40, 500, 577, 5, 1)),
        (ESTIMATE, {"objective": "lm", "picture": PICTURE, "shown": "blank"}, Row(40, 576, 577, 5, 1)),
        (ESTIMATE, {"objective": "lm", "picture": PICTURE, "shown": "removed"}, Row(40, 0, 0, 5, 1)),
        (ESTIMATE, {"objective": "lm", "picture": PICTURE, "shown": "caption"}, Row(55, 0, 0, 5, 1)),
        (ESTIMATE, {"objective": "lm"}, Row(40, 0, 0, 5, 1)),  # text-only backbone
        (ESTIMATE, {"objective": "lm", "ratio": 2.0}, Row(80, 0, 0, 10, 1)),
        (replace(ESTIMATE, images=2), {"objective": "lm", "picture": PICTURE}, Row(40, 200, 202, 5, 1)),
        (RowEstimate(text=30), {"objective": "lm"}, Row(30, 0, 0, 30, 1)),  # plain text: all tokens
        (RowEstimate(text=40), {"objective": "lm", "causal": False}, Row(40, 0, 0, 6, 1)),  # 15% masked
        (RowEstimate(text=300, windows=1.5), {"objective": "head"}, Row(200, 0, 0, 0, 1)),
    ],
)  # fmt: skip
def test_the_mean_row_of_a_task(
    estimate: RowEstimate, arguments: Mapping[str, Any], row: Row
) -> None:
    assert row_of(estimate, **arguments) == row


@pytest.mark.parametrize(
    ("text", "windows", "lengths", "ratio", "expected"),
    [
        # As measured: nothing changes.
        (430, 1.5, {"max_length": 384, "stride": 128}, 1.4, (430, 1.5)),
        (27, 1.0, {"max_length": 128, "stride": None}, 1.4, (27, 1.0)),
        # A context of 182 tokens in windows of 142 that begin every 80: one and a half more.
        (200, 1.0, {"max_length": 160, "stride": 80}, 1.0, (182 + 2 * 18 + 62, 2.0)),
        (25, 1.0, {"max_length": 160, "stride": 80}, 1.0, (25, 1.0)),
    ],
)
def test_lengths_of_the_recipe_cut_a_context_into_other_windows(
    text: float,
    windows: float,
    lengths: Mapping[str, Any],
    ratio: float,
    expected: tuple[float, float],
) -> None:
    cut = in_windows(RowEstimate(text=text, windows=windows), lengths, ratio)
    assert (cut.text, cut.windows) == pytest.approx(expected)


def test_a_tokenizer_with_more_tokens_gives_more_windows() -> None:
    row, lengths = RowEstimate(text=430, windows=1.5), {"max_length": 160, "stride": 80}
    plain, tiny = in_windows(row, lengths, 1.0), in_windows(row, lengths, 1.5)
    assert tiny.windows > plain.windows > row.windows
    assert tiny.text > plain.text > row.text


@pytest.mark.parametrize(
    ("of", "row", "tuning", "flops"),
    [
        # matrices 2 × 1280 × 10, attention 4 × 2 × 8 × 5 × 10, logits 2 × 800 × 3
        (SMALL, Row(10, answer=3), None, 25_600 + 3_200 + 4_800),
        (SMALL, Row(10, answer=3), {"mode": "full"}, 3 * (25_600 + 3_200 + 4_800)),
        # No gradients of frozen matrices; 544 parameters of adapters: 2 × 2 × (4 × 16 + 3 × 24)
        (SMALL, Row(10, answer=3), {"mode": "lora", "r": 2}, 2 * 25_600 + 3 * 3_200 + 2 * 4_800 + 6 * 544 * 10),
        (replace(SMALL, recompute=True), Row(10), {"mode": "full"}, 4 * (25_600 + 3_200)),
        # Two sequences of five tokens attend half as far.
        (SMALL, Row(10, segments=2), None, 25_600 + 1_600),
        # Only the number of parameters is known.
        (Model("large", parameters=7e9), Row(10, answer=3), {"mode": "lora", "r": 2}, 4 * 7e9 * 10),
    ],
)  # fmt: skip
def test_flops_of_a_row(
    of: Model, row: Row, tuning: Mapping[str, Any] | None, flops: float
) -> None:
    assert (of.read(row, 1) if tuning is None else of.train(row, 1, tuning)) == flops
    assert (of.read(row, 7) if tuning is None else of.train(row, 7, tuning)) == 7 * flops


def test_an_encoder_attends_in_both_directions() -> None:
    sizes = {"max_position_embeddings": 10, "type_vocab_size": 1}
    encoder = Model("e", shape_of({**LLAMA, **sizes, "model_type": "xlm-roberta"}))
    matrices, attention = encoder.forward(10, 10)
    assert (matrices, attention) == (2 * 2 * (4 * 64 + 2 * 128) * 10, 2 * SMALL.forward(10, 10)[1])


def test_only_the_chosen_experts_count() -> None:
    """Qwen3-VL-30B-A3B: 48 layers of attention (18.9 M), 8 of 128 experts (37.7 M), router."""
    of = Model("moe", shape_of(PUBLISHED["Qwen/Qwen3-VL-30B-A3B-Instruct"].config))
    assert of.forward(1, 0)[0] / 2 == 48 * (18_874_368 + 8 * 3 * 2048 * 768 + 2048 * 128)


@pytest.mark.parametrize(
    ("hub", "family", "patches"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava", 577),
        ("llava-hf/llava-v1.6-vicuna-7b-hf", "llava_next", 5 * 577),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", 4 * 391),
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", 4 * 300),
    ],
)
def test_the_tower_computes_every_patch_forward_only(hub: str, family: str, patches: int) -> None:
    of = model("m", {"hub": hub, "family": family}, PUBLISHED[hub].config, False)
    assert of.picture is not None
    assert of.picture.patches == patches
    tower = of.shape and of.shape.vision
    assert tower is not None
    length = patches / 5 if family == "llava_next" else patches  # within a tile
    flops = patches * (2 * tower.parameters + 4 * tower.layers * tower.hidden * length)
    assert of.vision(patches) == flops
    full, lora = ({"mode": "full"}, {"mode": "lora", "r": 8})
    for tuning in (full, lora):
        row = Row(10, 576, patches)
        assert of.train(row, 1, tuning) - of.train(replace(row, patches=0), 1, tuning) == flops


def test_larger_towers_of_the_same_family_have_more_tokens() -> None:
    hub = "llava-hf/llava-interleave-qwen-0.5b-hf"  # SigLIP 384/14
    of = model("m", {"hub": hub, "family": "llava"}, PUBLISHED[hub].config, False)
    assert of.picture == Picture(729, 729, 729, 729)


def test_a_model_is_known_by_config_parameters_or_not_at_all() -> None:
    known = model("a", {"hub": "x/y", "family": "llama"}, LLAMA, False)
    listed = model("b", {"hub": "lmsys/vicuna-13b-v1.5", "family": "llama"}, None, False)
    other = model("c", {"hub": "x/y", "family": "llama"}, {"model_type": "mamba"}, False)
    assert (known.missing, listed.missing) == ((), ())
    assert listed.parameters == 13.0e9
    assert other.missing == ("size of backbone c",)


def squad(**estimate: Any) -> dict[str, Task]:
    sizes = {"train": 500, "select": 40}
    return {"squad": replace(TASKS["squad"], sizes=sizes, estimate=RowEstimate(**estimate))}


def finetune(expansion: Expansion, label: str) -> Step:
    return next(s for s in expansion.steps.values() if label in str(s.settings.get("label")))


def unwindowed(step: Step, expansion: Expansion) -> Step:
    """The step, with encodings whose windows are those that lengths are measured with."""
    for fingerprint in step.parents.values():
        encode = expansion.steps[fingerprint]
        if encode.kind == "encode":
            lengths = {**encode.spec["lengths"], "max_length": 384, "stride": 128}
            changed = replace(encode, spec={**encode.spec, "lengths": lengths})
            cast(dict[str, Step], expansion.steps)[fingerprint] = changed
    return step


def test_updates_follow_from_epochs_rows_and_windows(expanded: Expanded) -> None:
    """Two epochs of 200 rows (the cap) with 1.2 windows, 16 in an update."""
    expansion = expanded()
    step = unwindowed(finetune(expansion, "tiny-llava: none → squad"), expansion)
    work = training(step, Lookup(expansion.steps, squad(text=120, windows=1.2)))
    assert (work.updates, work.examples.rows) == (30, 480)
    assert work.examples.row.text == pytest.approx(100 * 1.12)  # Llama's tokenizer
    assert work.dev.rows == 0


@pytest.mark.parametrize(
    ("sampling", "sizes", "updates"),
    [
        # 200 rows of each after the cap, 16 in an update, two epochs of the first task.
        ("proportional", (800, 800), 50),
        (
            "proportional",
            (600, 200),
            33,
        ),  # drawn in three of four rows, from the rows before the cap
        ("uniform", (600, 200), 50),
        ("probabilities", (600, 200), 28),  # weights 0.9 and 0.1
    ],
)
def test_a_mixture_sees_its_first_task_as_often_as_it_would_alone(
    expanded: Expanded, text: str, sampling: str, sizes: tuple[int, int], updates: int
) -> None:
    weights = (", weight: 0.9", ", weight: 0.1") if sampling == "probabilities" else ("", "")
    mixture = (
        f"{{mixture: [{{task: squad, objective: head{weights[0]}}}, "
        f"{{task: quiz, objective: lm{weights[1]}}}], sampling: {sampling}}}"
    )
    text = text.replace("{task: squad, objective: head}", mixture)
    expansion = expanded(text.replace("budget: {examples: 100, updates: 10}", ""))
    step = next(
        s for s in expansion.steps.values() if s.kind == "finetune" and len(s.spec["tasks"]) == 2
    )
    tasks = {
        name: replace(TASKS["squad"], sizes={"train": size}, estimate=RowEstimate(text=100, lm=50))
        for name, size in zip(("squad", "quiz"), sizes, strict=True)
    }
    unwindowed(step, expansion)
    assert training(step, Lookup(expansion.steps, tasks)).updates == updates


@pytest.mark.parametrize(("objective", "updates"), [("head", 63), ("lm", 12)])
def test_updates_of_a_budget_in_supervised_tokens(
    expanded: Expanded, text: str, objective: str, updates: int
) -> None:
    """A row with a head has one supervised token; with words, its answer: 5 × 1.12 tokens."""
    text = text.replace("task: squad, objective: head", f"task: squad, objective: {objective}")
    expansion = expanded(text.replace("updates: 10", "supervised_tokens: 1000"))
    step = finetune(expansion, "tiny-llava: intermediate squad")
    given = Lookup(expansion.steps, squad(text=120, lm=100, answer=5))
    assert training(step, given).updates == updates


def test_every_look_at_english_dev_counts(expanded: Expanded) -> None:
    """30 updates with a look every 8 and after the last: 4 looks at 40 rows."""
    expansion = expanded()
    step = unwindowed(finetune(expansion, "tiny-llava: none → squad"), expansion)
    recipe = {**step.spec["recipe"], "selection": 8}
    looking = replace(
        step,
        spec={**step.spec, "recipe": recipe},
        parents={**step.parents, "select:squad": step.parents["train:squad"]},
    )
    given = Lookup(expansion.steps, squad(text=120, windows=1.2))
    assert training(looking, given).dev.rows == 4 * 40 * 1.2


def test_padded_rows_have_the_length_of_the_recipe(expanded: Expanded) -> None:
    expansion = expanded()
    step = finetune(expansion, "tiny-llava: none → squad")
    given = Lookup(expansion.steps, squad(text=30), padded=True)
    assert training(step, given).examples.row.text == 64  # max_length of the small recipes


def test_a_step_takes_its_flops_or_its_launches_and_a_start(expanded: Expanded) -> None:
    expansion = expanded()
    step = finetune(expansion, "tiny: none → squad")
    given = Lookup(expansion.steps, squad(text=100))
    work = training(step, given)
    row, rows = work.examples.row, work.examples.rows
    speed = utilisation("training text", "float32", SMALL.hidden)
    assert speed == 67e12 * 0.4 * 0.6  # narrow
    large = Model("large", parameters=7e9)
    flops = large.train(row, rows, {"mode": "full"})
    seconds = flops / (67e12 * 0.4) + assumed("step")
    for gpus in (1, 4):
        cost = step_cost(step, large, given, gpus)
        expected = flops / (67e12 * 0.4) / gpus + assumed("step")
        assert cost.hours * 3600 == pytest.approx(expected)
        assert cost.gpu_hours == pytest.approx(cost.hours * gpus)
    assert step_cost(step, large, given).gpu_hours * 3600 == pytest.approx(seconds)
    # Two layers of eight numbers: more GPUs do not help.
    least = work.updates * 2 * assumed("launch training") + assumed("step")
    assert step_cost(step, SMALL, given, 4).hours * 3600 == pytest.approx(least)


def test_scoring_reads_every_language_and_missing_tasks_are_named(expanded: Expanded) -> None:
    expansion = expanded()
    step = finetune(expansion, "tiny-llava: none → squad, seed 0")
    score = next(
        s for s in expansion.steps.values()
        if s.kind == "score" and s.spec["evaluation"] == "xquad"
        and s.parents.get("model") == step.fingerprint
    )  # fmt: skip
    tasks = {"xquad": replace(TASKS["xquad"], estimate=RowEstimate(text=100))}
    readings = scoring(unwindowed(score, expansion), Lookup(expansion.steps, tasks))
    assert [(r.rows, r.row.text) for r in readings] == [
        (1190, pytest.approx(112)),  # English
        (1190, pytest.approx(142)),  # German, with Llama's tokenizer
    ]
    missing = step_cost(score, SMALL, Lookup(expansion.steps, {}))
    assert missing.tokens == 0
    assert missing.missing == ("row lengths of task xquad",)


def test_the_total_is_the_sum_of_the_parts_and_of_what_is_missing(expanded: Expanded) -> None:
    expansion = expanded()
    parts = estimate(expansion)
    total = sum((parts[part] for part in ("intermediate", "target", "score")), Cost())
    assert parts["total"] == total
    assert "row lengths of task quiz" in total.missing
    kinds = expansion.by_kind()
    left = estimate(expansion, {"finetune": kinds["finetune"]})
    assert (left["target"], left["score"]) == (Cost(), parts["score"])


def test_every_finetune_and_score_step_has_a_cost(expanded: Expanded) -> None:
    expansion = expanded()
    kinds = expansion.by_kind()
    assert set(step_costs(expansion)) == {*kinds["finetune"], *kinds["score"]}
    assert {name: of.missing for name, of in models(expansion).items()} == {
        "tiny": (), "tiny-llava": ()
    }  # fmt: skip


def test_every_shipped_task_has_row_lengths_with_their_source() -> None:
    for task in TASKS.values():
        assert task.estimate is not None, task.name
        assert task.estimate.source, task.name
        assert task.estimate.text > 0, task.name
        assert (task.estimate.images > 0) == (task.modality == "image"), task.name
        assert task.estimate.answer <= (task.estimate.lm or task.estimate.text), task.name
        if "train" in task.splits:
            assert task.rows("train", "en"), task.name


def test_the_miniature_sizes_are_its_defaults() -> None:
    sizes = Sizes()
    assert {k: getattr(sizes, k) for k in ("train", "select", "test", "text")} == ROWS
    small = miniature_rows(TASKS)
    assert small["vqa_v2"].rows("train", "en") == sizes.pictures
    assert small["coco_captions"].rows("train", "en") == sizes.pictures
    assert small["bucc_mining"].rows("test", "de") == POOL
    assert small["wikiann"].rows("test", "de") == sizes.test


def test_every_task_of_the_miniature_has_lengths() -> None:
    small = miniature_rows(TASKS)
    paths = {split.path for split in splits([LANGUAGES["en"]], Sizes())}
    missing = {
        name
        for name, task in small.items()
        if name not in LENGTHS and paths & {source.path for source in task.splits.values()}
    }
    assert missing == {"miniature_text"}  # rows of backbones, not of steps
    for name in LENGTHS:
        estimate = small[name].estimate
        assert estimate is not None
        assert 0 <= estimate.answer <= (estimate.lm or estimate.text), name


@pytest.mark.parametrize(
    ("name", "path"), [("xnli", "facebook/xnli"), ("snli", "stanfordnlp/snli")]
)
def test_rows_of_the_miniature_have_a_token_for_each_word(name: str, path: str) -> None:
    sizes = Sizes(train=50, select=50, test=50, text=50)
    split = next(s for s in splits([LANGUAGES["en"]], sizes) if (s.path, s.split) == (path, "test"))
    rows = split.make(Random(0), split.language, split.count, split.split)
    examples = [TASKS[name].to_example(row, index, "en") for index, row in enumerate(rows)]
    counts = [
        len(f"{example.text} {example.text_pair or ''}".split())
        for example in examples
        if isinstance(example, Example)
    ]
    assert len(counts) == 50
    assert LENGTHS[name][0] == pytest.approx(fmean(counts) + 3, rel=0.15)  # and three special ones


@pytest.mark.parametrize("family", ["xlm_r", "llama", "llava", "qwen2_5_vl"])
def test_the_shape_of_a_tiny_backbone_is_that_of_the_defaults(family: str) -> None:
    shape = shape_of(built_config(family, 1000))
    keys = ("hidden", "layers", "vocab_size")
    assert (shape.hidden, shape.layers, 4096) == tuple(DEFAULTS[key] for key in keys)
    assert shape.width("up") // (2 if shape.decoder else 1) == DEFAULTS["ff"]
    assert shape.vocabulary == 1000
    if shape.vision:
        keys = ("vision_hidden", "vision_layers", "vision_ff")
        assert (shape.vision.hidden, shape.vision.layers, shape.vision.ff) == tuple(
            DEFAULTS[key] for key in keys
        )
