"""`xstilts lock`: names, references and digests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import images
from pipelines import cli, image_lock
from xstilts.errors import InfrastructureError

DIGEST = "sha256:" + "0123456789abcdef" * 4
BEFORE = {
    "base": {"reference": "python:3.11-slim", "digest": DIGEST},
    "plan-python": {"reference": "xstilts/plan-python:dev", "digest": None},
    "stage-python": {"reference": "r.io/x/stage-python:1", "digest": DIGEST},
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "images.lock"
    path.write_text(json.dumps(BEFORE))
    monkeypatch.setattr(images, "LOCK", path)
    images.lock.cache_clear()
    yield path
    images.lock.cache_clear()


def test_it_prints_the_lock(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lock"]) == 0
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["base", "python:3.11-slim", DIGEST],
        ["plan-python", "xstilts/plan-python:dev", "-"],
        ["stage-python", "r.io/x/stage-python:1", DIGEST],
    ]
    assert json.loads(file.read_text()) == BEFORE


def test_another_registry_or_tag_forgets_the_digest_and_leaves_the_base_alone() -> None:
    found = image_lock.renamed(BEFORE, "r.io/x/", "2")
    assert found["base"] == BEFORE["base"]
    assert found["plan-python"] == {"reference": "r.io/x/plan-python:2", "digest": None}
    assert found["stage-python"] == {"reference": "r.io/x/stage-python:2", "digest": None}
    assert image_lock.renamed(BEFORE, "r.io/x", "1")["stage-python"] == BEFORE["stage-python"]


def test_resolving_writes_the_registries_digests(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def digest(reference: str) -> str:
        asked.append(reference)
        return f"sha256:{len(asked):064d}"

    monkeypatch.setattr(image_lock, "digest", digest)
    assert cli.main(["lock", "--registry", "r.io/y", "--tag", "3", "--resolve"]) == 0
    assert asked == ["python:3.11-slim", "r.io/y/plan-python:3", "r.io/y/stage-python:3"]
    written = json.loads(file.read_text())
    assert written["stage-python"] == {
        "reference": "r.io/y/stage-python:3",
        "digest": f"sha256:{3:064d}",
    }
    assert images.reference("stage") == f"r.io/y/stage-python@sha256:{3:064d}"
    assert f"sha256:{2:064d}" in capsys.readouterr().out


def test_one_image_can_be_resolved_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lock, "digest", lambda reference: DIGEST)
    assert cli.main(["lock", "plan-python", "--resolve"]) == 0
    assert json.loads(file.read_text())["plan-python"]["digest"] == DIGEST
    assert cli.main(["lock", "plam"]) == 2


def test_when_one_cannot_be_resolved_nothing_is_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(reference: str) -> str:
        raise InfrastructureError(f"{reference}: no such image")

    monkeypatch.setattr(image_lock, "digest", digest)
    assert cli.main(["lock", "--resolve"]) == 3
    assert json.loads(file.read_text()) == BEFORE
