"""The tables of tasks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest

from xstilts.errors import PlanError
from xstilts.scoring import metrics
from xstilts.tasks.languages import LANGUAGES
from xstilts.tasks.recipes import SETS, recipe, recipe_of
from xstilts.tasks.registry import TASKS, as_json, collected, task
from xstilts.tasks.task import Format, RecipeRow, Source
from xstilts.tasks.task_checks import METRICS, task_problems

LANGUAGE_COUNTS = {
    "xnli": 15, "xcopa": 11, "udpos": 38, "wikiann": 48, "xquad": 12, "mlqa": 7, "tydiqa": 9, "tatoeba": 41,
    "tatoeba_squad": 41, "lareqa": 11, "mewslix": 11, "pawsx": 7, "bucc": 4, "bucc_mining": 4,
}  # fmt: skip
INTERMEDIATE = {
    "anli_plus", "mnli", "qqp", "squad_v2", "squad", "hellaswag", "ccg", "cosmos_qa", "commonsense_qa", "snli", "anli",
    "ud_deprel", "coco_captions", "flickr30k", "vqa_v2", "gqa", "a_okvqa", "science_qa", "snli_ve", "nlvr", "nlvr2",
    "refcoco", "llava_instruct", "text_lm", "multilingual_text",
}  # fmt: skip


def test_every_intermediate_task_is_there_and_text_tasks_have_both_objectives() -> None:
    assert set(TASKS) >= INTERMEDIATE
    for name in INTERMEDIATE:
        definition = TASKS[name]
        assert "train" in definition.splits
        if definition.format in ("classification", "multiple_choice", "tagging", "span"):
            assert definition.objectives == ("head", "lm")
            assert definition.instruction


@pytest.mark.parametrize(("name", "count"), LANGUAGE_COUNTS.items())
def test_evaluations_have_the_languages_of_xtreme_r(name: str, count: int) -> None:
    assert len(set(TASKS[name].languages)) == count
    assert set(TASKS[name].languages) <= set(LANGUAGES)


def test_the_fifty_languages_are_those_that_some_evaluation_has() -> None:
    real = {code for code, language in LANGUAGES.items() if language.family != "invented"}
    scored = {code for name in LANGUAGE_COUNTS for code in TASKS[name].languages}
    assert len(real) == 50
    assert scored == real


def test_every_trained_target_is_a_task_of_the_evaluations_format() -> None:
    for definition in TASKS.values():
        for target in definition.trained_target or ():
            if (
                definition.format == "retrieval"
            ):  # sentence vectors of whatever the road has trained
                continue
            assert TASKS[target].format == definition.format
            assert TASKS[target].labels == definition.labels


def test_every_task_has_a_recipe_with_a_source_in_every_set() -> None:
    for name in SETS:
        for task_name in TASKS:
            for family in ("xlm_r", "llava", "qwen_vl"):
                for mode in ("full", "lora"):
                    merged = recipe(name, task_name, family, mode)
                    assert merged["source"]
                    assert ("updates" in merged) != ("epochs" in merged)


#: google-research/xtreme scripts/train_*.sh (838c13b): rate for XLM-R large, epochs, batch,
#: warm-up, looks.
OFFICIAL = {
    "mnli": (3e-5, 5, 32, 0, 100), "paws_en": (2e-5, 5, 32, 0, 200), "ud_en": (2e-5, 10, 32, 0, 500),
    "panx_en": (2e-5, 10, 32, 0, 1000), "siqa": (3e-5, 5, 32, 0, "last"), "copa": (3e-5, 5, 32, 0, "last"),
    "squad": (3e-5, 3, 32, 500, "last"), "tydiqa_en": (3e-5, 3, 32, 500, "last"),
    "squad_dual": (2e-5, 3, 16, 0, "last"), "mewsli_pairs": (1e-5, 2, 32, 0, "last"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "row"), OFFICIAL.items())
def test_xtreme_r_trains_its_targets_as_the_official_scripts_do(
    name: str, row: tuple[object, ...]
) -> None:
    merged = recipe("xtreme_r", name, "xlm_r", "full")
    assert (
        tuple(merged[key] for key in ("lr", "epochs", "examples_per_step", "warmup", "selection"))
        == row
    )


def test_tasks_are_sorted_by_name_and_the_order_of_files_does_not_matter() -> None:
    assert list(TASKS) == sorted(TASKS)
    files = [(name, [definition]) for name, definition in TASKS.items()]
    assert collected(reversed(files)) == collected(files) == TASKS
    assert list(collected(reversed(files))) == list(TASKS)


def test_a_name_in_two_files_is_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"duplicate task 'snli': a\.py and b\.py; rename"):
        collected([("a.py", [TASKS["snli"]]), ("b.py", [TASKS["snli"]])])


def test_every_mistake_of_a_task_is_named_with_its_file() -> None:
    wrong = replace(
        TASKS["snli"], format="essay", verbalised=("yes",), sizes={"tset": 5}, recipes=(),  # type: ignore[arg-type]
        trained_target=("mnlii",),
    )  # fmt: skip
    with pytest.raises(ValueError, match="invalid tasks") as error:
        collected([("x.py", [wrong])])
    lines = str(error.value).splitlines()[1:]
    assert all(line.startswith("  - x.py: snli: ") for line in lines)
    assert [line.removeprefix("  - x.py: snli: ").split(":")[0] for line in lines] == [
        "format",
        "trained_target",
        "unknown task 'mnlii'; allowed",
        "sizes",
    ]


def test_a_metric_that_cannot_score_the_format_is_refused() -> None:
    wrong = replace(TASKS["xnli"], metrics=("accuracy", "squad_f1"))
    assert task_problems(wrong, TASKS) == [
        "xnli: metrics of classification: invalid value 'squad_f1'; allowed: accuracy, binary_f1"
    ]


def test_every_format_has_metrics_that_exist_and_every_metric_scores_a_format() -> None:
    means = {"qa", "mlqa", "squad_v2"}  # reported beside a pair of EM and F1, never named by a task
    names = {name for allowed in METRICS.values() for name in allowed}
    assert set(METRICS) == set(get_args(Format))
    assert names == {*metrics.METRICS, *metrics.CORPUS} - means


def test_a_recipe_row_of_a_task_names_existing_sets_and_keys() -> None:
    wrong = replace(TASKS["snli"], recipes=(RecipeRow("xtrem", {"learning_rate": 1e-5}),))
    assert [problem.split(";")[0] for problem in task_problems(wrong, TASKS)] == [
        "snli: recipes: invalid value 'xtrem'",
        "snli: recipes xtrem: invalid value 'learning_rate'",
    ]


def test_what_a_task_changes_of_its_formats_recipe_holds_for_the_families_that_it_names() -> None:
    task = replace(
        TASKS["snli"], recipes=(RecipeRow("xtreme_r", {"epochs": 7}, families=("llava",)),)
    )
    epochs = [
        recipe_of(task, "xtreme_r", family, "full")["epochs"] for family in ("llava", "xlm_r")
    ]
    assert epochs == [7, recipe("xtreme_r", "snli", "xlm_r", "full")["epochs"]]


def test_the_set_vlm_inherits_what_a_task_changes_of_xtreme_r_except_the_rate() -> None:
    task = replace(TASKS["snli"], recipes=(RecipeRow("xtreme_r", {"epochs": 7, "lr": 1.0}),))
    merged = recipe_of(task, "vlm", "llava", "full")
    assert (merged["epochs"], merged["lr"]) == (7, recipe("vlm", "snli", "llava", "full")["lr"])


def test_an_unknown_task_is_named_with_a_suggestion() -> None:
    with pytest.raises(PlanError, match=r"unknown task 'squadd'; did you mean 'squad'\?"):
        task("squadd")


def test_an_unknown_recipe_set_is_named() -> None:
    with pytest.raises(PlanError, match="miniature, xtreme_r"):
        recipe("phang", "squad", "xlm_r", "full")


def test_json_lists_every_task() -> None:
    assert [row["name"] for row in as_json()] == list(TASKS)


def test_json_has_the_overlap_of_each_evaluation_with_each_arm() -> None:
    rows = {row["name"]: row["overlap"] for row in as_json() if row["trained_target"] is not None}
    assert {name for name, overlap in rows.items() if not set(overlap) >= INTERMEDIATE} == set()
    assert [rows["xnli"][arm] for arm in ("mnli", "anli_plus", "snli", "squad")] == [
        "same-data", "same-data", "same-format", "unrelated",
    ]  # fmt: skip
    assert [rows["udpos"][arm] for arm in ("ud_deprel", "ccg", "mnli")] == [
        "same-data",
        "same-format",
        "unrelated",
    ]
    assert (
        rows["xcopa"]["siqa"] == rows["xcopa"]["copa"] == rows["lareqa"]["squad_v2"] == "same-data"
    )
    assert [rows["pawsx"][arm] for arm in ("paws_en", "qqp", "nlvr2", "mnli")] == [
        "same-data", "same-format", "same-format", "unrelated",
    ]  # fmt: skip
    assert [rows["mewslix"][arm] for arm in ("mewsli_pairs", "squad_dual", "squad")] == [
        "same-data", "same-format", "unrelated",
    ]  # fmt: skip
    assert set(rows["tatoeba"].values()) == {"unrelated"}


def test_json_has_the_overlap_of_each_arm_with_each_trained_target() -> None:
    rows = {row["name"]: row["overlap"] for row in as_json() if row["trained_target"] is None}
    targets = {
        target for definition in TASKS.values() for target in definition.trained_target or ()
    }
    assert {name for name, overlap in rows.items() if set(overlap) != targets} == {
        name for name in rows if "train" not in TASKS[name].splits
    }
    assert {rows[name][name] for name in targets} == {"same-data"}


def sources() -> Iterator[tuple[str, Source]]:
    """(task, source), each with its fall-backs."""
    for definition in TASKS.values():
        for source in definition.splits.values():
            yield from ((definition.name, each) for each in (source, *source.alternatives))


def test_json_names_every_source_of_a_task() -> None:
    rows = {row["name"]: row for row in as_json()}
    three = ["stanfordnlp/snli", "nyu-mll/glue", "facebook/anli"]
    (anli_plus,) = rows["anli_plus"]["splits"]["train"]
    assert [anli_plus["path"], *(further["path"] for further in anli_plus["plus"])] == three
    assert rows["anli_plus"]["english_training_data"] == three
    assert [source["pictures"]["path"] for source in rows["gqa"]["splits"]["train"]] == [
        "lmms-lab/GQA", "lmms-lab-encoder/GQA",
    ]  # fmt: skip


def test_data_sets_that_lmms_eval_renamed_have_both_names() -> None:
    """Its commit 4be7ee0e moved lmms-lab to lmms-lab-encoder."""
    pairs = {(name, source.path) for name, source in sources()}
    old = {(name, path) for name, path in pairs if path.startswith("lmms-lab/")}
    assert {path for _, path in old} == {
        f"lmms-lab/{name}" for name in ("COCO-Caption2017", "GQA", "RefCOCO", "VQAv2")
    }
    assert {(name, path.replace("lmms-lab/", "lmms-lab-encoder/")) for name, path in old} <= pairs


def test_paws_is_not_read_from_the_filtered_copy_and_refcoco_says_what_it_is_trained_on() -> None:
    paths = {
        name: {source.path for other, source in sources() if other == name}
        for name in ("paws_en", "pawsx")
    }
    assert set.union(*paths.values()) == {"google-research-datasets/paws-x"}
    refcoco = next(row for row in as_json() if row["name"] == "refcoco")
    assert refcoco["title"] == "RefCOCO grounding (trained on val, dev testA)"
    assert {side: {source["split"] for source in origins} for side, origins in refcoco["splits"].items()} == {
        "train": {"val"}, "select": {"testA"},
    }  # fmt: skip


def test_sizes_are_those_of_the_sources() -> None:
    assert (
        sum(TASKS["mewslix"].sizes.values()) == 14_624
    )  # as google-research mewsli-x.md adds them up
    assert set(TASKS["tatoeba"].sizes) == {f"test:{code}" for code in TASKS["tatoeba"].languages}


def test_a_test_with_rows_by_language_has_them_for_every_language() -> None:
    for definition in TASKS.values():
        named = {size.partition(":")[2] for size in definition.sizes if size.startswith("test:")}
        assert not named or named == set(definition.languages)


def test_rows_add_up_to_what_the_sources_say_of_the_whole() -> None:
    assert sum(TASKS["tydiqa"].sizes.values()) == 5_077  # GoldP's dev set
    assert (min(TASKS["udpos"].sizes.values()), max(TASKS["udpos"].sizes.values())) == (
        47,
        22_358,
    )  # mr, de
    assert (
        TASKS["snli_ve"].sizes["train"] == 176_932 + 176_045 + 176_550
    )  # its README's three labels
    parts = [TASKS[name].sizes for name in ("snli", "mnli", "anli")]
    assert all(
        TASKS["anli_plus"].sizes[split] == sum(part[split] for part in parts)
        for split in ("train", "select")
    )
