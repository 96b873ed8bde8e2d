"""The command line: exit codes and messages that say what is wrong, where, and what to do."""

import json
from pathlib import Path

import pytest

from pipelines.cli import main

PLAN = (Path(__file__).parents[1] / "e2e" / "small.yaml").read_text()


def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *more: str
) -> tuple[int, str]:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    code = main(["plan", str(plan), "--home", str(tmp_path / "home"), *more])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("task: coco_captions", "task: coco_caption", "coco_caption"),
        ("evaluations: [udpos, tatoeba]", "evaluations: [udpos, tatoebaa]", "tatoebaa"),
        ("languages: [en, qaa]", "languages: [en, xx]", "xx"),
        ("{arm: captions-lm, reference", "{arm: captions, reference", "captions"),
        ("family: llava", "family: lava", "family"),
    ],
    ids=["task", "evaluation", "language", "arm", "backbone"],
)
def test_an_unknown_name_is_refused_with_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, right: str, message: str
) -> None:
    assert wrong in PLAN
    code, error = refused(tmp_path, capsys, PLAN.replace(wrong, right), "--mirror", str(tmp_path))
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_all_mistakes_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAN.replace("task: coco_captions", "task: coco_caption").replace(
        "tatoeba]", "tatoebaa]"
    )
    _, error = refused(tmp_path, capsys, text, "--mirror", str(tmp_path))
    assert "coco_caption" in error
    assert "tatoebaa" in error


def test_a_contrast_across_objectives_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PLAN.replace("reference: none, allow_unmatched: true", "reference: csqa")
    text = text.replace("arms:\n", "arms:\n  csqa: {task: commonsense_qa, objective: head}\n")
    code, error = refused(tmp_path, capsys, text, "--mirror", str(tmp_path))
    assert code == 2
    assert "allow_unmatched" in error


def test_image_arms_on_text_only_backbones_alone_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = refused(
        tmp_path, capsys, PLAN.replace("llava", "xlm_r"), "--mirror", str(tmp_path)
    )
    assert code == 2
    assert "image" in error


def test_a_mirror_without_the_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, error = refused(tmp_path, capsys, PLAN, "--mirror", str(tmp_path / "empty"))
    assert code == 2
    assert "nothing was staged" in error


def test_a_plan_file_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tmp_path / "no.yaml"), "--home", str(tmp_path)]) == 2
    assert "no such plan file" in capsys.readouterr().err


def test_an_unreachable_store_is_an_infrastructure_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hub: Path
) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(key, value)
    plan = Path(__file__).parents[2] / "pipelines" / "plans" / "real-slices.yaml"
    code = main(
        [
            "plan",
            str(plan),
            "--mirror",
            str(hub),
            "--home",
            str(tmp_path),
            "--store",
            "s3://bucket/x",
        ]
    )
    assert code == 3
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


def test_the_real_slices_plan_names_what_is_not_applicable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], hub: Path
) -> None:
    plan = Path(__file__).parents[2] / "pipelines" / "plans" / "real-slices.yaml"
    assert main(["plan", str(plan), "--mirror", str(hub), "--home", str(tmp_path), "--json"]) == 0
    view = json.loads(capfd.readouterr().out)
    assert {row["backbone"] for row in view["not_applicable"]} == {"tiny-xlm-r"}


def test_tasks_are_listed_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    assert "xnli" in {row["name"] for row in json.loads(capfd.readouterr().out)}
