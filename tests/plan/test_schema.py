"""Loading plans: short forms, defaults, and errors, reported all at once with their keys."""

from pathlib import Path

import pytest

from xstilts.errors import PlanError
from xstilts.plan.batches import KINDS
from xstilts.plan.facts import contrasts
from xstilts.plan.load import load_plan
from xstilts.plan.plan_errors import InvalidPlan
from xstilts.plan.schema import Plan
from xstilts.plan.tables import Tables

MINIMAL = """
name: p
recipes: miniature
backbones: {b: {hub: org/model, family: llava}}
evaluations: [xquad]
"""


def problems(text: str, tables: Tables) -> list[str]:
    with pytest.raises(InvalidPlan) as caught:
        load_plan(text, tables)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return list(caught.value.problems)


def test_a_minimal_plan_has_defaults(tables: Tables) -> None:
    plan = load_plan(MINIMAL, tables)
    assert list(plan.arms) == ["none"]
    assert plan.seeds == ((0, 0),)
    assert plan.languages is None
    assert plan.backbones["b"].tuning.mode == "full"


def test_a_plan_reads_its_own_json(text: str, tables: Tables) -> None:
    plan = load_plan(text, tables)
    assert Plan.model_validate(plan.to_json()) == plan


def test_a_plan_is_read_from_a_file_or_from_text(text: str, tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    assert load_plan(path, tables) == load_plan(str(path), tables) == load_plan(text, tables)
    with pytest.raises(PlanError, match="cannot read the plan"):
        load_plan(tmp_path / "absent.yaml", tables)


def test_a_file_that_is_not_utf_8_is_named(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes("name: für\n".encode("latin-1"))
    with pytest.raises(PlanError, match=r"(?s)plan\.yaml: .*not UTF-8 text .*; save the file"):
        load_plan(path, tables)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: p\nseeds: 1\nname: q\n", "line 3: duplicate key 'name', first used in line 1"),
        ("name: p\nbackbones: {b\n", "line 3: invalid YAML: while parsing a flow mapping"),
        ("name: p\ntitle: 2024-13-45\n", "line 2: invalid YAML: invalid value '2024-13-45'"),
    ],
)
def test_invalid_yaml_is_reported_with_file_and_line(
    text: str, problem: str, tables: Tables, tmp_path: Path
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InvalidPlan) as caught:
        load_plan(path, tables)
    first, second = str(caught.value).splitlines()
    assert first == f"{path}: 1 error; nothing was started"
    assert second.startswith(f"  - {problem}")


@pytest.mark.parametrize(
    ("written", "pairs"),
    [
        ("2", ((0, 0), (1, 1))),
        ("{intermediate: [3, 4], target: [0, 1]}", ((3, 0), (3, 1), (4, 0), (4, 1))),
        ("[[5, 6], [5, 7]]", ((5, 6), (5, 7))),
    ],
)
def test_seeds_have_three_forms(
    written: str, pairs: tuple[tuple[int, int], ...], tables: Tables
) -> None:
    assert load_plan(f"{MINIMAL}seeds: {written}\n", tables).seeds == pairs


def test_short_forms_are_normalized(tables: Tables) -> None:
    plan = load_plan(
        MINIMAL.replace("[xquad]", "{xquad: {languages: all}, udpos: {languages: [de]}}")
        + "rows: {train: 9, squad: {train: 3}}\nsplits: {udpos: {test: validation}}\narms: {none: }\n",
        tables,
    )
    assert plan.evaluations["xquad"].languages is None
    assert plan.evaluations["udpos"].languages == ("de",)
    assert (plan.rows.default.train, plan.rows.tasks["squad"].train) == (9, 3)
    assert plan.splits["udpos"].test is not None
    assert plan.splits["udpos"].test.split == "validation"


def test_all_errors_are_reported_at_once(tables: Tables) -> None:
    text = """
title: no name
recipes: miniatur
colour: red
backbones:
  b: {hub: org/model, family: llava, tuning: lorra}
  two: {hub: org/model, path: here, family: xlm_r}
arms:
  a: {task: squda, objective: head}
  b: {task: quiz, objective: lm, temprature: 2}
  c: {mixture: [{task: quiz}, {task: captions}], sampling: temperature}
  empty: {}
evaluations: [xquad, mlaq]
languages: [en, de, xx]
seeds: 0
budget: {updates: -1}
override: {quiz: {learning_rate: 1.0}, udpos: {lr: 1.0}}
contrasts: {one: {arm: aa, reference: none}}
headline: two
controls: {positive: {arm: none, evaluation: tatoeba}}
splits: {xquad: {test: {task: quiz, split: test}}}
"""
    reported = problems(text, tables)
    expected = [
        "seeds: invalid value 0",
        "key 'colour' is unknown",
        "recipes: 'miniatur' is unknown; did you mean 'miniature'?",
        "backbones.b.tuning.mode: 'lorra' is unknown; did you mean 'lora'?",
        "backbones.two: needs exactly one of: build, hub, path; it has hub, path",
        "arms.b: key 'temprature' is unknown; did you mean 'temperature'?",
        "arms.c: sampling: temperature needs the key temperature",
        "budget.updates: -1 should be greater than or equal to 1",
        "override.quiz: key 'learning_rate' is unknown",
        "name: is required",
        "arms.a.task: 'squda' is unknown; did you mean 'squad'?",
        "arms.empty: is empty",
        "evaluations: 'mlaq' is unknown; did you mean 'mlqa'?",
        "languages: not in any of the evaluations: 'xx' is unknown",
        "contrasts.one.arm: 'aa' is unknown; did you mean 'a'?",
        "headline: 'two' is unknown",
        "controls.positive.arm: 'none' is unknown",
        "controls.positive.evaluation: 'tatoeba' is unknown",
        "splits.xquad.test.task: quiz (multiple_choice; no labels) cannot replace xquad (span; no labels)",
    ]
    for start in expected:
        assert sum(problem.startswith(start) for problem in reported) == 1, (start, reported)
    assert len(reported) == len(expected), reported


def test_arms_of_an_evaluation_exist_and_include_both_sides_of_a_contrast(
    tables: Tables,
) -> None:
    text = MINIMAL.replace(
        "evaluations: [xquad]", "evaluations: {xquad: {arms: [a, e]}, xcopa: {arms: [b]}}"
    )
    text += "arms: {a: {task: quiz}, b: {task: quiz2}}\ncontrasts: {c: {arm: a, reference: b, allow_unmatched: true}}\n"
    assert problems(text, tables) == [
        "evaluations.xquad.arms: 'e' is unknown; allowed: none, a, b",
        "contrasts.c: no evaluation scores both a and b; add both to the arms of an evaluation",
    ]


def test_the_name_of_an_invalid_arm_is_known(tables: Tables) -> None:
    reported = problems(MINIMAL + "arms: {x: {task: 3}}\ncontrasts: {c: {arm: x}}\n", tables)
    assert reported == ["arms.x.task: invalid value 3; must be a string"]


def test_a_control_on_an_invalid_evaluation_adds_no_error(tables: Tables) -> None:
    text = MINIMAL.replace("[xquad]", "{xquad: 5}") + "arms: {a: {task: quiz}}\n"
    text += "controls: {positive: {arm: a, evaluation: xquad}}\n"
    assert problems(text, tables) == ["evaluations.xquad: invalid value 5; must be a mapping"]


def test_an_invalid_item_is_the_only_error_of_its_list(tables: Tables) -> None:
    reported = problems(MINIMAL + "seeds: [[0, -1]]\n", tables)
    assert reported == ["seeds[0][1]: -1 should be greater than or equal to 0"]


def test_image_arms_need_a_backbone_that_reads_images(text: str, tables: Tables) -> None:
    only_text = text.replace("family: llava", "family: xlm_r")
    assert any(
        "every backbone reads text only" in problem for problem in problems(only_text, tables)
    )
    load_plan(text, tables)  # one backbone reads images; for the other the arm is not applicable


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (
            "x: {task: quiz, objective: lm}, y: {task: quiz, objective: head}",
            "objective (lm against head)",
        ),
        (
            "x: {task: quiz}, y: {mixture: [{task: quiz2}, {task: squad}]}",
            "examples (200 against 400)",
        ),
    ],
)
def test_unmatched_contrasts_are_errors(arms: str, words: str, tables: Tables) -> None:
    text = f"{MINIMAL}arms: {{{arms}}}\ncontrasts: {{c: {{arm: x, reference: y}}}}\n"
    [problem] = problems(text, tables)
    assert problem.startswith(f"contrasts.c: x and y differ in {words}")
    load_plan(text.replace("reference: y", "reference: y, allow_unmatched: true"), tables)


BETWEEN = """
name: p
recipes: miniature
backbones: {seeing: {hub: org/a, family: llava}, reading: {hub: org/b, family: llama}}
arms: {text: {task: quiz, objective: lm}, more: {task: quiz2, objective: lm}, shown: {task: captions, objective: lm}}
evaluations: [xquad]
budget: {examples: 50, updates: 5}
contrasts: {c: {CONTRAST}}
"""
SIDES = "backbone: seeing, reference_backbone: reading"


@pytest.mark.parametrize(
    "contrast",
    [f"arm: text, reference: text, {SIDES}", f"arm: none, {SIDES}", f"arm: shown, reference: more, {SIDES}"],
)  # fmt: skip
def test_a_contrast_may_compare_two_backbones(contrast: str, tables: Tables) -> None:
    loaded = load_plan(BETWEEN.replace("CONTRAST", contrast), tables)
    [named, *others] = contrasts(loaded, tables)
    assert (named["backbone"], named["reference_backbone"]) == ("seeing", "reading")
    assert [each["name"] for each in others] == [f"{arm} minus none" for arm in ("text", "more", "shown")]  # fmt: skip


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ("arm: text, backbone: seeing", "contrasts.c: backbone and reference_backbone need each other; set both"),
        ("arm: text, backbone: seeing, reference_backbone: seeing",
         "contrasts.c: backbone and reference_backbone are both 'seeing'; without them, each backbone"),
        ("arm: text, backbone: seeing, reference_backbone: readin",
         "contrasts.c.reference_backbone: 'readin' is unknown; did you mean 'reading'?"),
        ("arm: text, reference: shown, " + SIDES,
         "contrasts.c: shown shows images, and reading (llama) reads text only; change the arm or the backbone"),
        ("arm: text, reference: text, " + SIDES + "}}\nheadline: c\nresources: {workers: 1",
         "headline: 'c' is unknown"),
    ],
)  # fmt: skip
def test_mistakes_in_a_contrast_between_backbones(
    contrast: str, message: str, tables: Tables
) -> None:
    text = BETWEEN.replace("{CONTRAST}", f"{{{contrast}}}")
    if "headline" in contrast:
        text = text.replace("workers: 1}}", "workers: 1}")
    [problem] = problems(text, tables)
    assert problem.startswith(message)


def test_the_arms_of_a_contrast_between_backbones_are_matched_on_these(tables: Tables) -> None:
    """reading has half the updates of seeing."""
    text = BETWEEN.replace("CONTRAST", f"arm: text, reference: text, {SIDES}")
    text = text.replace("budget: {examples: 50, updates: 5}", "budget: {examples: 50}")
    text = text.replace("family: llama}", "family: llama, override: {quiz: {updates: 5}}}")
    [problem] = problems(text, tables)
    assert problem.startswith("contrasts.c: text and text differ in updates")


def test_all_rows_of_two_tasks_are_different_numbers(tables: Tables) -> None:
    everything = Tables(
        tables.tasks, lambda *key: {**tables.recipe(*key), "train_rows": None}, *_rest(tables)
    )  # fmt: skip
    text = f"{MINIMAL}arms: {{x: {{task: quiz}}, y: {{task: quiz2}}}}\ncontrasts: {{c: {{arm: x, reference: y}}}}\n"
    [problem] = problems(text, everything)
    assert "examples (all of quiz against all of quiz2), updates (2 epochs of each)" in problem
    load_plan(text + "budget: {examples: 50}\n", everything)


def _rest(tables: Tables) -> tuple[object, ...]:
    return (tables.invented, tables.identity, tables.missing)


@pytest.mark.parametrize(
    ("more", "start"),
    [
        ("languages: [no, en]", "languages: invalid value [False, 'en']"),
        ("languages: [it]", "languages: not in any of the evaluations: 'it'"),
        ("rows: {copa: {train: 3}}", "rows.copa: the plan does not use this task"),
        (
            "arms: {x: {task: quiz2}}\nrecipes: xtreme_r",
            "line 7: duplicate key 'recipes', first used in line 3; keep one",
        ),
        ("seeds: [[0, 0], [0, 0]]", "seeds: duplicate pair of seeds"),
        ("seeds: 1000000000", "seeds: 1000000000 pairs of seeds, more than 1000"),
        (
            f"seeds: {{intermediate: {[*range(40)]}, target: {[*range(40)]}}}",
            "seeds: 1600 pairs of seeds, more than 1000",
        ),
        ("arms: {none: {task: quiz}}", "arms.none: must be empty"),
        (f"limit: {2**63}", f"limit: {2**63} should be less than {2**63}"),
        (f"budget: {{updates: {2**63}}}", f"budget.updates: {2**63} should be less than {2**63}"),
        (
            f"resources: {{workers: {10**30}}}",
            f"resources.workers: {10**30} should be less than or equal to 4096",
        ),
        (
            "resources: {gpus_per_worker: .inf}",
            "resources.gpus_per_worker: inf should be a finite number",
        ),
        (
            "report: {regression: {points: .nan}}",
            "report.regression.points: nan should be a finite number",
        ),
        (
            "override: {xquad: {weight_decay: .inf}}",
            "override.xquad.weight_decay: inf should be a finite number",
        ),
        (
            "splits: {squad: {train: a}, xquad: {train: b}}",
            "splits: squad and xquad set different train splits",
        ),
    ],
)
def test_an_error_names_its_key(more: str, start: str, tables: Tables) -> None:
    reported = problems(f"{MINIMAL}{more}\n", tables)
    assert any(problem.startswith(start) for problem in reported), reported


@pytest.mark.parametrize("languages", ["[de, de]", "[de, en, de]"])
def test_a_language_is_listed_once_per_evaluation(languages: str, tables: Tables) -> None:
    text = MINIMAL.replace("[xquad]", f"{{xquad: {{languages: {languages}}}}}")
    assert problems(text, tables) == [
        "evaluations.xquad.languages: duplicate language; list each language once"
    ]


def test_a_missing_recipe_is_an_error(tables: Tables) -> None:
    text = MINIMAL.replace("miniature", "xtreme_r") + "arms: {x: {task: quiz2}}\n"
    assert problems(text, tables) == ["recipes: xtreme_r has no recipe for quiz2"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_cannot_have_the_id_of_a_batch(kind: str, tables: Tables) -> None:
    """The spec of its group would overwrite that of the batch."""
    named = f"backbones.{kind}-00: names like sources-00, builds-00, encode-00 are reserved"
    assert problems(MINIMAL.replace("{b:", f"{{{kind}-00:"), tables)[0].startswith(named)


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_cannot_have_the_id_of_a_batch(kind: str, tables: Tables) -> None:
    many = MINIMAL.replace("{b:", f"{{{kind}:") + "resources: {groups: 11}\n"
    message = f"backbones.{kind}: 11 groups (resources.groups) have ids like {kind}-10"
    assert problems(many, tables)[0].startswith(message)
    load_plan(many.replace("11", "10"), tables)


def test_the_list_of_group_ids_has_a_maximum_length(tables: Tables) -> None:
    many = ", ".join(f"{'b' * 60}{i}: {{hub: o/m, family: llava}}" for i in range(70))
    assert (
        "more than 4096 bytes"
        in problems(MINIMAL.replace("{b: {hub: org/model, family: llava}", f"{{{many}"), tables)[0]
    )


def test_arms_with_equal_supervised_tokens_are_matched_with_any_updates(
    tables: Tables,
) -> None:
    """A caption has a dozen supervised tokens, a label one: equal tokens need different updates."""
    text = (
        f"{MINIMAL}arms: {{x: {{task: quiz, objective: lm}}, y: {{task: squad, objective: lm}}}}\n"
    )
    text += "contrasts: {c: {arm: x, reference: y}}\noverride: {squad: {updates: 7}}\n"
    [problem] = problems(text, tables)
    assert "updates (2 epochs against 7)" in problem
    load_plan(text + "budget: {examples: 100, supervised_tokens: 5000}\n", tables)
    [problem] = problems(text + "budget: {supervised_tokens: 5000, updates: 5}\n", tables)
    assert problem == "budget: has both updates and supervised_tokens; remove one"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "squad: {question_length: 64}",
            "override.squad: question_length 64 and 4 special tokens leave no room",
        ),
        ("squad: {question_length: 59}", "set question_length to at most 58"),
        (
            "squad: {stride: 44}",
            "override.squad: stride 44 is not smaller than the 44 tokens that max_length 64 leaves",
        ),
        ("squad: {max_length: 36}", "set stride to at most 15"),
        (
            "squad: {answer_limit: {tokens: 3, characters: 9}}",
            "needs exactly one of: tokens, characters",
        ),
        (
            "squad: {answer_limit: {words: 3}}",
            "override.squad.answer_limit: key 'words' is unknown; allowed: tokens, characters",
        ),
    ],
)
def test_lengths_without_room_for_the_context_are_errors(
    override: str, expected: str, tables: Tables
) -> None:
    (problem,) = problems(f"{MINIMAL}override: {{{override}}}\n", tables)
    assert expected in problem


@pytest.mark.parametrize(
    "override",
    [
        "squad: {question_length: 43}",
        "squad: {stride: 43}",
        "squad: {answer_limit: {characters: 9}}",
    ],
)
def test_lengths_with_room_for_the_context_are_valid(override: str, tables: Tables) -> None:
    assert load_plan(f"{MINIMAL}override: {{{override}}}\n", tables).override["squad"]


def test_length_errors_of_a_backbone_name_its_override(tables: Tables) -> None:
    text = MINIMAL.replace("family: llava", "family: llava, override: {squad: {stride: 60}}")
    (problem,) = problems(text, tables)
    assert problem.startswith(
        "backbones.b.override.squad: stride 60 is not smaller than the 44 tokens"
    )


@pytest.mark.parametrize("key", ["max_length", "lm_length"])
def test_a_length_beyond_xlm_rs_positions_is_an_error(key: str, tables: Tables) -> None:
    text = (
        MINIMAL.replace("family: llava", "family: xlm_r") + f"override: {{squad: {{{key}: 513}}}}\n"
    )
    assert any(
        f"override.squad.{key}: 513 is more than the 512 tokens" in problem
        for problem in problems(text, tables)
    )


def test_windows_are_not_checked_for_the_lm_objective(tables: Tables) -> None:
    text = MINIMAL.replace("[xquad]", "[xcopa]") + "arms: {words: {task: squad, objective: lm}}\n"
    assert load_plan(text + "override: {squad: {max_length: 16}}\n", tables).arms["words"]
    (problem,) = problems(
        text.replace("lm", "head") + "override: {squad: {max_length: 16}}\n", tables
    )
    assert "leave no room for the context in max_length 16" in problem


def test_primary_evaluations_margin_and_confidence_are_read(tables: Tables) -> None:
    text = (
        MINIMAL
        + "arms: {a: {task: quiz}}\ncontrasts: {c: {arm: a, primary: [xquad]}}\nconfidence: 0.99\n"
    )
    plan = load_plan(
        text + "controls: {negative: {arm: a, evaluation: xquad, margin: 0.5}}\n", tables
    )
    assert plan.contrasts["c"].primary == ("xquad",)
    assert plan.confidence == 0.99
    assert plan.controls.negative is not None
    assert plan.controls.negative.margin == 0.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "contrasts: {c: {arm: a, primary: [xqad]}}",
            "contrasts.c.primary: 'xqad' is unknown; did you mean 'xquad'?",
        ),
        (
            "controls: {negative: {arm: a, evaluation: xquad, margin: 0}}",
            "controls.negative.margin: 0",
        ),
        (
            "controls: {positive: {arm: a, evaluation: xquad, margin: 1}}",
            "controls.positive: key 'margin' is unknown",
        ),
        ("confidence: 95", "confidence: 95"),
    ],
)
def test_errors_in_contrasts_controls_and_confidence(
    more: str, message: str, tables: Tables
) -> None:
    reported = problems(f"{MINIMAL}arms: {{a: {{task: quiz}}}}\n{more}\n", tables)
    assert [problem[: len(message)] for problem in reported] == [message]
