"""The build context and the checks of a build, without an engine."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from images import build, wheels
from images.build import (
    IMAGES,
    base_reference,
    build_image,
    context,
    files_of,
    main,
    refuse_floating_base,
    sources,
)
from images.subsets import ROOTS
from tests.conftest import ROOT
from xstilts.errors import InfrastructureError, PlanError

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def wheelhouse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project with one wheel of each kind."""
    for name in ("code/__init__.py", "wheelhouse/.gitkeep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = tmp_path / "wheelhouse"
    for name in (
        "torch-2.13.0+cpu-cp311",
        "boto3-1-py3",
        "nvidia_cublas-13-py3",
        "pydantic_core-2-cp311",
        "ray-2-cp311",
    ):
        (folder / f"{name}-none-any.whl").write_bytes(b"wheel")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "WHEELHOUSE", folder)
    return folder


def wheels_of(image: str, torch: str = "cpu") -> set[str]:
    return {
        path.name.split("-")[0] for path in files_of(IMAGES[image], torch) if path.suffix == ".whl"
    }


@pytest.mark.usefixtures("wheelhouse")
def test_the_context_has_only_the_wheels_of_the_image() -> None:
    assert wheels_of("plan-python") == {"boto3", "pydantic_core"}
    assert wheels_of("finetune-worker") == {"boto3", "pydantic_core", "torch", "ray"}
    assert wheels_of("finetune-worker", "cuda") == {
        "boto3",
        "pydantic_core",
        "torch",
        "ray",
        "nvidia_cublas",
    }


@pytest.mark.parametrize("name", IMAGES)
def test_the_context_has_everything_that_a_dockerfile_copies(name: str) -> None:
    image = IMAGES[name]
    sent = {path.as_posix() for path in files_of(image, "cpu")}
    text = (ROOT / "images" / image.component / "Dockerfile").read_text()
    text = (
        text.partition("AS build-worker")[0] if image.stage == "step" else text
    )  # the builder ends at its target
    wanted = [
        line.split()[1:-1]
        for line in text.splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    for source in {one.replace("${TORCH}", "cpu") for line in wanted for one in line}:
        if (ROOT / source).is_dir():
            assert any(path.startswith(f"{source}/") for path in sent)
        else:
            assert source in sent


def test_the_context_depends_on_the_files_alone(tmp_path: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    context(IMAGES["plan-python"], "cpu", first)
    (ROOT / "images" / "smoke.py").touch()
    context(IMAGES["plan-python"], "cpu", second)
    assert first.getvalue() == second.getvalue()
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as tar:
        names = tar.getnames()
    assert "images/plan/Dockerfile" in names
    assert not [
        name
        for name in names
        if "__pycache__" in name or name.startswith(("tests", "pipelines", ".git"))
    ]


def test_changed_code_is_other_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "xstilts").mkdir()
    (tmp_path / "xstilts" / "run.py").write_text("one")
    before = sources()
    assert sources() == before
    (tmp_path / "xstilts" / "run.py").write_text("two")
    assert sources() != before


def test_every_set_of_packages_ships_in_an_image() -> None:
    assert {image.sets[-1] for image in IMAGES.values()} == set(ROOTS)


def test_the_sizes_are_those_that_were_agreed() -> None:
    limits = {name: image.megabytes for name, image in IMAGES.items()}
    assert limits["plan-python"] == 120
    assert limits["stage-python"] == 600
    assert limits["report-python"] == 500
    assert limits["finetune-worker"] == limits["score-worker"] == 1700


class Engine:
    """An engine with scripted build output and image sizes."""

    def __init__(self, megabytes: int, messages: list[dict[str, str]]) -> None:
        self.messages, self.given = messages, dict[str, Any]()
        sizes = {"base:1": 100_000_000, "t": 100_000_000 + megabytes * 1_000_000}
        self.images = SimpleNamespace(get=lambda name: SimpleNamespace(attrs={"Size": sizes[name]}))
        self.api = SimpleNamespace(build=self.build)

    def build(self, **given: Any) -> list[dict[str, str]]:
        self.given = given
        return self.messages


def built(engine: Engine, torch: str = "cpu") -> int:
    return build_image(engine, IMAGES["plan-python"], "t", torch, "base:1", "abc", io.StringIO())


def test_a_build_names_its_base_its_lock_and_its_sources() -> None:
    engine = Engine(60, [{"stream": "Step 1\n"}])
    assert built(engine) == 60_000_000
    arguments = engine.given["buildargs"]
    assert (arguments["BASE_IMAGE"], arguments["TORCH"], arguments["REVISION"]) == (
        "base:1",
        "cpu",
        "abc",
    )
    assert arguments["SOURCES"] == sources()


def test_an_image_that_is_too_large_is_refused() -> None:
    with pytest.raises(InfrastructureError, match="121 MB above its base, limit 120 MB"):
        built(Engine(121, []))
    assert built(Engine(121, []), "cuda") == 121_000_000


def test_a_failed_build_shows_the_end_of_its_output() -> None:
    with pytest.raises(
        InfrastructureError, match="plan-python: build failed:\nno module named yaml"
    ):
        built(
            Engine(1, [{"stream": "no module named yaml\n"}, {"error": "returned a non-zero code"}])
        )


def test_publishing_on_a_base_without_a_digest_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse_floating_base(f"python@{DIGEST}")
    with pytest.raises(PlanError, match=r"python:3\.11: no digest.*lock base --resolve"):
        refuse_floating_base("python:3.11")
    assert main(["--push", "r.io/x", "--tag", "1", "--base", "python:3.11"]) == 2
    assert "no digest" in capsys.readouterr().err


def test_the_base_is_named_by_its_digest_once_it_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        build, "lock", lambda: {"base": {"reference": "python:3.11", "digest": None}}
    )
    assert base_reference() == "python:3.11"
    monkeypatch.setattr(
        build, "lock", lambda: {"base": {"reference": "python:3.11", "digest": DIGEST}}
    )
    assert base_reference() == f"python@{DIGEST}"


def test_no_engine_is_an_infrastructure_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(InfrastructureError, match="no Docker engine"):
        build.engine()


def test_wheels_are_those_of_all_sets() -> None:
    assert {"torch", "ray", "kubernetes", "datasets"} <= set[str]().union(
        *(wheels.names(name) for name in ROOTS)
    )
