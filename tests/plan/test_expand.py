"""Expansion: shared steps, dependencies, overrides, and errors for missing data."""

import re
import time
from collections.abc import Callable

import pytest

from xstilts.errors import DataError, PlanError
from xstilts.plan.expansion import Expansion
from xstilts.step import digest

Expanded = Callable[..., Expansion]


def scores(expansion: Expansion) -> dict[tuple[str, str], str]:
    """(cell, evaluation) → fingerprint."""
    return {
        (cell["id"], name): fp for cell in expansion.cells for name, fp in cell["scores"].items()
    }


def test_cells_have_their_seeds_and_chains(expanded: Expanded) -> None:
    cells = {cell["id"]: cell for cell in expanded().cells if cell["backbone"] == "tiny"}
    # none: 2 target seeds × 2 targets + raw retrieval; squad and quiz-lm: 2 seeds × 2 targets + 2
    # end points of training paths
    assert len(cells) == 5 + 6 + 6
    none = cells["tiny.none.squad.t1"]
    assert (none["seed"], none["seed_intermediate"], none["seed_target"], len(none["chain"])) == (
        1,
        None,
        1,
        1,
    )
    raw = cells["tiny.none.none"]
    assert (raw["seed"], raw["seed_intermediate"], raw["seed_target"], raw["chain"]) == (
        None,
        None,
        None,
        [],
    )
    end = cells["tiny.squad.none.i1"]
    assert (end["seed"], end["seed_intermediate"], end["seed_target"], len(end["chain"])) == (
        1,
        1,
        None,
        1,
    )
    two_stages = cells["tiny.squad.siqa+copa.i1.t1"]
    assert len(two_stages["chain"]) == 3


def test_crossed_seeds_share_none_and_intermediates(expanded: Expanded, text: str) -> None:
    expansion = expanded(
        text.replace("seeds: 2", "seeds: {intermediate: [0, 1], target: [0, 1, 2]}")
    )
    squad = [
        c for c in expansion.cells if (c["backbone"], c["trained_target"]) == ("tiny", "squad")
    ]
    assert sum(c["arm"] == "none" for c in squad) == 3
    crossed = [c for c in squad if c["arm"] == "squad"]
    assert len(crossed) == 6
    assert len({c["chain"][0] for c in crossed}) == 2
    assert len({c["chain"][1] for c in crossed}) == 6


def test_two_stage_targets_are_chained(expanded: Expanded) -> None:
    expansion = expanded()
    [cell] = [c for c in expansion.cells if c["id"] == "tiny.squad.siqa+copa.i0.t0"]
    first, second, third = (expansion.steps[fp] for fp in cell["chain"])
    assert (first.spec["stage"], second.spec["name"], third.spec["name"]) == (
        "intermediate",
        "siqa",
        "copa",
    )
    assert second.parents["init"] == cell["chain"][0]
    assert third.parents["init"] == cell["chain"][1]
    assert expansion.steps[cell["scores"]["xcopa"]].parents["model"] == cell["chain"][2]
    assert first.spec["seed"] == {"kind": "intermediate", "value": 0}
    assert third.spec["seed"] == {"kind": "target", "value": 0}


def test_retrieval_scores_the_end_of_the_training_path(expanded: Expanded) -> None:
    expansion = expanded()
    steps = {
        cell["id"]: expansion.steps[cell["scores"].get("tatoeba", "")]
        for cell in expansion.cells
        if cell["trained_target"] == "none"
    }
    assert "model" not in steps["tiny.none.none"].parents
    assert (
        expansion.steps[steps["tiny.squad.none.i0"].parents["model"]].spec["stage"]
        == "intermediate"
    )
    assert steps["tiny.none.none"].spec["layer"] == pytest.approx(14 / 24, abs=1e-6)


def test_cells_share_steps(expanded: Expanded) -> None:
    expansion = expanded()
    kinds = expansion.by_kind()
    # text in 3 languages; targets squad, siqa, copa; at the budget squad, quiz, captions; 6 tests
    assert len(kinds["records"]) == 3 + 3 + 3 + 6
    assert len(kinds["build"]) == 2
    tiny = [fp for fp in kinds["finetune"] if expansion.steps[fp].spec["family"] == "xlm_r"]
    # intermediates: 2 arms × 2 seeds; squad, siqa, copa for each of the 6 training paths
    assert len(tiny) == 4 + 3 * 6
    squad = {c["id"]: c for c in expansion.cells}["tiny.quiz-lm.squad.i0.t0"]
    models = {expansion.steps[fp].parents["model"] for fp in squad["scores"].values()}
    assert models == {squad["chain"][1]}  # xquad and mlqa read one fine-tuned model


def test_forgetting_scores_the_last_model_of_each_path_with_the_heads_of_its_intermediate(
    expanded: Expanded, text: str
) -> None:
    plain = expanded(text + "intermediate_scores: true\n")
    expansion = expanded(text + "intermediate_scores: after_targets\n")
    after = [entry for entry in expansion.intermediates if "target" in entry]
    assert [entry for entry in expansion.intermediates if entry not in after] == plain.intermediates
    [cell] = [c for c in expansion.cells if c["id"] == "tiny.squad.siqa+copa.i1.t1"]
    [entry] = [
        each
        for each in after
        if (each["backbone"], each["arm"], each["seed"], each["target"])
        == ("tiny", "squad", 1, "siqa+copa")
    ]
    assert (entry["task"], entry["seed_target"]) == ("squad", 1)
    parents = expansion.steps[entry["score"]].parents
    assert (parents["model"], parents["heads"]) == (cell["chain"][-1], cell["chain"][0])
    assert "none" not in {each["arm"] for each in after}
    assert "none" not in {each["target"] for each in after}


def test_arms_with_equal_content_share_their_steps(expanded: Expanded, text: str) -> None:
    expansion = expanded(text.replace("  captions: {", "  again: {task: squad}\n  captions: {"))
    chains = {
        c["arm"]: c["chain"]
        for c in expansion.cells
        if c["id"].endswith(".squad.i0.t0") and c["backbone"] == "tiny"
    }
    assert chains["squad"] == chains["again"]
    assert "again" not in {str(step.spec.get("name")) for step in expansion.steps.values()}


def test_shuffled_labels_are_different_records(expanded: Expanded, text: str) -> None:
    expansion = expanded(
        text.replace("  captions: {", "  noise: {task: squad, labels: shuffled}\n  captions: {")
    )
    chains = {
        c["arm"]: c["chain"]
        for c in expansion.cells
        if c["id"].endswith(".squad.i0.t0") and c["backbone"] == "tiny"
    }
    assert chains["squad"][0] != chains["noise"][0]
    true = {
        name: expansion.steps[expansion.steps[chains[name][1]].parents["train:squad"]]
        for name in chains
    }
    assert true["squad"] == true["noise"]  # the target's own rows keep their labels


def test_parents_precede_their_children(expanded: Expanded) -> None:
    seen: set[str] = set()
    for fingerprint, step in expanded().steps.items():
        assert set(step.parents.values()) <= seen
        seen.add(fingerprint)


def test_adding_a_language_only_scores_its_evaluation_again(expanded: Expanded, text: str) -> None:
    before, after = (
        expanded(),
        expanded(
            text.replace(
                "[xquad, mlqa, xcopa, tatoeba]",
                "{xquad: {languages: [en, de, el]}, mlqa: , xcopa: , tatoeba: }",
            )
        ),
    )
    old, new = scores(before), scores(after)
    assert {key for key in old if old[key] != new[key]} == {key for key in old if key[1] == "xquad"}
    added = [after.steps[fp] for fp in after.steps if fp not in before.steps]
    assert [s.spec["language"] for s in added if s.kind in ("records", "encode")] == ["el"] * 3
    assert {s.kind for s in added} == {"records", "encode", "score"}
    gone = [before.steps[fp] for fp in before.steps if fp not in after.steps]
    assert {(s.kind, s.spec["evaluation"]) for s in gone} == {("score", "xquad")}


def test_adding_an_evaluation_seed_or_arm_keeps_all_steps(expanded: Expanded, text: str) -> None:
    before = set(expanded().steps)
    for old, new in (
        ("xcopa, tatoeba]", "xcopa, tatoeba, udpos]"),
        ("seeds: 2", "seeds: 3"),
        ("arms:", "arms:\n  more: {task: quiz2}"),
    ):
        assert before < set(expanded(text.replace(old, new)).steps)


def test_resources_change_no_fingerprint(expanded: Expanded, text: str) -> None:
    many = {"workers": 4, "threads": 3, "tokens_per_micro_batch": 99, "sharding": "full"}
    more = "resources: {checkpoint_every: 7, gpus_per_worker: 1, groups: 2"
    more += "".join(f", {key}: {value}" for key, value in many.items()) + "}\n"
    after = expanded(text + more)
    assert list(after.steps) == list(expanded().steps)
    step = after.steps[after.by_kind()["finetune"][0]]
    assert {key: step.settings[key] for key in many} == many


def test_the_precision_of_computation_is_part_of_models_only(expanded: Expanded, text: str) -> None:
    whole, half = (
        expanded(re.sub(r"( +)tuning: \w+", rf"\g<0>\n\1dtype: {dtype}", text))
        for dtype in ("float32", "bfloat16")
    )
    before = expanded()
    assert list(whole.steps) == list(before.steps)
    for kind, fingerprints in before.by_kind().items():
        changes = kind in ("finetune", "score")
        assert (not set(fingerprints) & set(half.by_kind()[kind])) is changes, kind
    step = half.steps[half.by_kind()["finetune"][0]]
    assert step.spec["dtype"] == "bfloat16"


def test_reuse_decides_what_the_fingerprint_contains(expanded: Expanded, text: str) -> None:
    exact, recipe = expanded(), expanded(text + "reuse: recipe\n")
    assert all("environment" not in step.spec for step in recipe.steps.values())
    assert all("environment" in step.settings for step in recipe.steps.values())
    assert all(
        "environment" in step.spec for step in exact.steps.values() if step.kind != "records"
    )
    first, second = (expanded(text + "reuse: none\n", generation=name) for name in ("one", "two"))
    assert not set(first.steps) & set(second.steps)
    assert list(first.steps) == list(expanded(text + "reuse: none\n", generation="one").steps)


def test_golden_fingerprints(expanded: Expanded) -> None:
    """If this fails, stored results are stale: bump RECIPE_VERSION, or undo the change."""
    expansion = expanded()
    digests = {kind: digest(sorted(fps))[:16] for kind, fps in expansion.by_kind().items()}
    assert digests == {
        "records": "c6cc774c6c607db9",
        "build": "dd66f6a1262ca3a4",
        "encode": "1884ee87fd6342a2",
        "finetune": "68258c408c9be992",
        "score": "32af49a93bef3870",
    }


def test_row_caps_and_budgets_apply(expanded: Expanded, text: str) -> None:
    def rows(expansion: Expansion, cell: str, task: str, index: int) -> object:
        [chain] = [c["chain"] for c in expansion.cells if c["id"] == cell]
        encoded = expansion.steps[expansion.steps[chain[index]].parents[f"train:{task}"]]
        return expansion.steps[encoded.parents["records"]].spec["rows"]

    expansion = expanded(text + "rows: {train: 150, test: 30, squad: {train: 20}}\n")
    assert rows(expansion, "tiny.squad.squad.i0.t0", "squad", 0) == 100  # budget
    assert rows(expansion, "tiny.squad.squad.i0.t0", "squad", 1) == 20  # its own cap
    assert (
        rows(expansion, "tiny.squad.siqa+copa.i0.t0", "siqa", 1) == 150
    )  # the smaller of cap and recipe
    [chain] = [c["chain"] for c in expansion.cells if c["id"] == "tiny.squad.squad.i0.t0"]
    first, second = (expansion.steps[fp].spec["recipe"] for fp in chain)
    assert (first["updates"], "epochs" in first) == (10, False)
    assert (second["epochs"], "updates" in second) == (2.0, False)
    assert not {"max_length", "train_rows", "lora", "source"} & set(second)
    mixed = "  mix: {mixture: [{task: quiz, weight: 2}, {task: squad, weight: 1}], sampling: probabilities}\n"
    expansion = expanded(text.replace("  captions: {", f"{mixed}  captions: {{"))
    assert [rows(expansion, "tiny.mix.squad.i0.t0", task, 0) for task in ("quiz", "squad")] == [
        67,
        33,
    ]
    assert [b["examples"] for b in expansion.budgets] == [100] * len(expansion.budgets)


def test_a_task_and_its_translation_have_shares_of_their_own(expanded: Expanded, text: str) -> None:
    tasks = "[{task: quiz, weight: 3}, {task: quiz, weight: 1, translated: [de]}]"
    mixture = f"  mix: {{mixture: {tasks}, sampling: probabilities}}\n"
    expansion = expanded(text.replace("  captions: {", f"{mixture}  captions: {{"))
    rows = {
        step.spec["language"]: step.spec["rows"]
        for step in expansion.steps.values()
        if step.kind == "records" and step.spec["task"] == "quiz" and step.spec["split"] == "train"
        and step.spec["rows"] != 100
    }  # fmt: skip
    assert rows == {"en": 75, "de": 25}
    assert {b["examples"] for b in expansion.budgets if b["arm"] == "mix"} == {100}


def test_a_task_and_its_translation_are_scored_apart(expanded: Expanded, text: str) -> None:
    """They have a head each."""
    tasks = "[{task: squad}, {task: squad, translated: [de]}]"
    mixture = f"  mix: {{mixture: {tasks}}}\n"
    expansion = expanded(
        text.replace("  captions: {", f"{mixture}  captions: {{")
        + "intermediate_scores: after_targets\n"
    )
    entries = [each for each in expansion.intermediates if each["arm"] == "mix"]
    heads = {
        (entry.get("translated"), expansion.steps[entry["score"]].spec["head"]) for entry in entries
    }
    assert heads == {(None, 0), ("de", 1)}
    assert all("translated" not in e for e in expansion.intermediates if e["arm"] != "mix")


def test_overrides_apply_and_are_listed(expanded: Expanded, text: str) -> None:
    expansion = expanded(
        text
        + "override: {squad: {updates: 7, lr: 1e-5}}\nsplits: {xquad: {train: dev, test: dev}}\n"
    )
    [chain] = [c["chain"] for c in expansion.cells if c["id"] == "tiny.none.squad.t0"]
    step = expansion.steps[chain[0]]
    assert (
        step.spec["recipe"]["updates"],
        step.spec["recipe"]["lr"],
        "epochs" in step.spec["recipe"],
    ) == (
        7,
        1e-5,
        False,
    )
    records = expansion.steps[expansion.steps[step.parents["train:squad"]].parents["records"]]
    assert records.spec["source"]["split"] == "dev"
    named = {(o["kind"], o["task"], o["key"], o["value"]) for o in expansion.overrides}
    assert {
        ("recipe", "squad", "lr", 1e-5),
        ("split", "squad", "train", "dev"),
        ("split", "xquad", "test", "dev"),
    } <= named
    [score] = [
        expansion.steps[c["scores"]["xquad"]]
        for c in expansion.cells
        if c["id"] == "tiny.none.squad.t0"
    ]
    assert score.settings["splits"] == {"en": "dev", "de": "dev"}


def test_a_split_that_the_task_itself_does_not_have_is_an_override(
    expanded: Expanded, text: str
) -> None:
    text = text.replace("  captions: {", "  more: {task: quiz2}\n  captions: {")
    expansion = expanded(text + "splits: {quiz2: {select: dev}}\n")
    row = {"kind": "split", "task": "quiz2", "key": "select", "value": "dev"}
    assert row in expansion.overrides


def test_a_split_can_come_from_another_task(expanded: Expanded, text: str) -> None:
    expansion = expanded(text + "splits: {squad: {train: {task: xquad, split: validation}}}\n")
    [chain] = [c["chain"] for c in expansion.cells if c["id"] == "tiny.none.squad.t0"]
    encoded = expansion.steps[expansion.steps[chain[0]].parents["train:squad"]]
    records = expansion.steps[encoded.parents["records"]]
    assert (encoded.spec["task"], records.spec["task"]) == ("squad", "xquad")
    assert (records.spec["source"]["path"], records.spec["source"]["split"]) == (
        "org/xquad",
        "validation",
    )


def test_missing_languages_are_listed(expanded: Expanded, text: str) -> None:
    expansion = expanded(
        text.replace("languages: [en, de]", "languages: all"), absent=(("org/xquad", "el", "test"),)
    )
    reason = "org/xquad el has no split test"
    assert {
        "evaluation": "xquad",
        "language": "el",
        "reason": reason,
    } in expansion.skipped_languages
    assert all(
        row["language"] != "qaa" for row in expansion.skipped_languages
    )  # the plan does not name it
    [score] = [
        expansion.steps[c["scores"]["xquad"]]
        for c in expansion.cells
        if c["id"] == "tiny.none.squad.t0"
    ]
    assert score.spec["languages"] == ["en", "de"]
    named = expanded(text.replace("languages: [en, de]", "languages: [en, de, qaa]"))
    assert sum(row["language"] == "qaa" for row in named.skipped_languages) == 4


@pytest.mark.parametrize(
    ("backbones", "arms"),
    [(("a", "a.b"), ("b.c", "c")), (("tiny.1", "tiny"), ("x", "1.x"))],
    ids=["letters", "numbers"],
)
def test_names_with_dots_that_give_two_cells_one_id_are_refused(
    expanded: Expanded, text: str, backbones: tuple[str, str], arms: tuple[str, str]
) -> None:
    text = text.replace("  tiny:", f"  {backbones[0]}:").replace(
        "  tiny-llava:", f"  {backbones[1]}:"
    )
    text = text[: text.index("contrasts")].replace("  squad: {", f"  {arms[0]}: {{")
    expanded(text)
    with pytest.raises(PlanError, match=r"both have the cell id .*; rename one"):
        expanded(text.replace("  quiz-lm: {", f"  {arms[1]}: {{"))


def test_all_missing_splits_are_reported_at_once(expanded: Expanded) -> None:
    absent = (
        ("org/squad", None, "train"),
        ("org/captions", None, "train"),
        ("org/mlqa", "en", "test"),
        ("org/mlqa", "de", "test"),
    )
    with pytest.raises(DataError) as caught:
        expanded(absent=absent)
    message = str(caught.value)
    for words in (
        "squad has no train rows in en",
        "splits.squad.train",
        "captions has no train rows",
        "mlqa has no test rows",
        "splits.mlqa.test",
    ):
        assert words in message


def test_the_text_that_a_backbone_lacks_is_named_with_the_reason(
    expanded: Expanded, text: str
) -> None:
    text = text.replace("seed: 0, tokenizer", "seed: 0, languages: [de], tokenizer", 1)
    with pytest.raises(DataError) as caught:
        expanded(text, absent=(("org/miniature_text", "de", "text"),))
    assert str(caught.value).splitlines()[1] == (
        "  - backbones.tiny.build: miniature_text has no text: org/miniature_text de has no split text"
    )


def test_records_with_captions_of_the_mirror_include_their_identity(
    expanded: Expanded, text: str
) -> None:
    text = text.replace(
        "  captions: {", "  described: {task: captions, images: caption}\n  captions: {"
    )
    records = [
        s.spec
        for s in expanded(text).steps.values()
        if s.kind == "records" and s.spec.get("images") == "caption"
    ]
    assert records
    for spec in records:
        assert spec["captions"]["path"] == "captions/captions"
        assert spec["captions"]["split"] == spec["split"]
        assert spec["captions"]["identity"]


def test_if_an_arm_shows_captions_all_image_conditions_include_their_source(
    expanded: Expanded, text: str
) -> None:
    """A row without a caption is then left out of all conditions."""
    text = text.replace(
        "  captions: {", "  described: {task: captions, images: caption}\n  captions: {"
    )
    made = [
        s.spec
        for s in expanded(text).steps.values()
        if s.kind == "records" and s.spec["task"] == "captions"
    ]
    assert {spec.get("images", "real") for spec in made if spec["split"] == "train"} == {
        "real",
        "caption",
    }
    assert all(spec["captions"]["split"] == spec["split"] for spec in made)
    without = expanded(text, absent=(("captions/captions", None, "select"),))
    select = [
        s.spec
        for s in without.steps.values()
        if s.kind == "records" and s.spec["split"] == "select"
    ]
    assert not any("captions" in spec for spec in select), (
        "a split that no arm can show as captions needs none"
    )


def test_missing_captions_are_an_error_if_an_arm_shows_them(expanded: Expanded, text: str) -> None:
    text = text.replace(
        "  captions: {", "  described: {task: captions, images: caption}\n  captions: {"
    )
    with pytest.raises(
        DataError,
        match=r"captions has no train captions in en: its rows have no captions of their own",
    ):
        expanded(text, absent=(("captions/captions", None, "train"),))


def test_an_evaluation_scores_its_arms_and_none(expanded: Expanded, text: str) -> None:
    limited = text.replace(
        "evaluations: [xquad, mlqa, xcopa, tatoeba]",
        "evaluations: {xquad: {}, xcopa: {arms: [squad]}}",
    )
    cells = expanded(limited).cells
    assert {cell["arm"] for cell in cells if "xcopa" in cell["scores"]} == {"none", "squad"}
    assert {cell["arm"] for cell in cells if "xquad" in cell["scores"]} > {"none", "squad"}
    trained = {cell["arm"] for cell in cells if cell["trained_target"] == "siqa+copa"}
    assert trained == {"none", "squad"}, "a target that no evaluation needs is not trained"


def test_an_image_arm_is_not_applicable_to_a_text_backbone(expanded: Expanded) -> None:
    expansion = expanded()
    assert [(row["backbone"], row["arm"]) for row in expansion.not_applicable] == [
        ("tiny", "captions")
    ]
    assert not [
        cell for cell in expansion.cells if (cell["backbone"], cell["arm"]) == ("tiny", "captions")
    ]


def test_implicit_contrasts_and_overlaps_are_listed(expanded: Expanded) -> None:
    expansion = expanded()
    assert [(c["name"], c["implicit"]) for c in expansion.contrasts] == [
        ("captions minus quiz", False), ("squad minus none", True), ("quiz-lm minus none", True),
        ("captions minus none", True),
    ]  # fmt: skip
    assert {"arm": "squad", "trained_target": "squad", "overlap": "same-data"} in expansion.overlaps


def test_an_expansion_reads_its_own_json(expanded: Expanded) -> None:
    expansion = expanded()
    again = Expansion.from_json(expansion.to_json())
    assert again == expansion
    assert again.to_json() == expansion.to_json()


def test_ten_thousand_cells_expand_within_seconds(expanded: Expanded, text: str) -> None:
    started = time.process_time()
    expansion = expanded(text.replace("seeds: 2", "seeds: 530"))
    assert len(expansion.cells) > 9_999
    assert time.process_time() - started < 20
    for batches in (expansion.sources, expansion.builds, expansion.encodings, expansion.groups):
        assert sum(len(batch["id"]) for batch in batches) < 4096
