"""The Dockerfiles: one for each component, for any builder, non-root, checked at the end."""

import json
import re
from pathlib import Path

import pytest

from components.images import STAGED, name, reference
from images.subsets import ROOTS
from tests.conftest import ROOT

COMPONENTS = ("plan", "stage", "finetune", "score", "report")
DOCKERFILES = [ROOT / "images" / component / "Dockerfile" for component in COMPONENTS]
LOCK = json.loads((ROOT / "images" / "images.lock").read_text())


def stages(path: Path) -> dict[str, list[str]]:
    """stage → its instructions, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", path.read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"FROM \$\{BASE_IMAGE\} AS (\S+)$", line):
            found[match[1]] = []
        elif found and line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


@pytest.fixture(params=DOCKERFILES, ids=COMPONENTS)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_stage_starts_from_the_one_base(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert f"ARG BASE_IMAGE={LOCK['base']['reference']}\n" in text
    assert re.findall(r"^FROM .*$", text, re.M) == [
        f"FROM ${{BASE_IMAGE}} AS {stage}" for stage in stages(dockerfile)
    ]


def test_the_classic_builder_understands_it(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert not re.search(r"--mount|--chmod|--link|<<|# *syntax=", text)


def test_the_shipped_stage_is_named_as_in_the_lock(dockerfile: Path) -> None:
    component = dockerfile.parent.name
    shipped = [stage for stage in stages(dockerfile) if not stage.startswith("build")]
    assert shipped == (["step", "worker"] if component in STAGED else ["python"])
    assert {name(component, stage) for stage in shipped} <= set(LOCK)


def test_the_shipped_stage_is_not_root_labelled_and_checked(dockerfile: Path) -> None:
    component = dockerfile.parent.name
    for stage, lines in stages(dockerfile).items():
        packages = stage.removeprefix("build-") if component in STAGED else component
        assert packages in ROOTS
        if stage.startswith("build"):
            assert f"COPY images/packages/{packages}.txt /src/packages.txt" in lines
            continue
        user = lines.index("USER 1000:1000")
        assert lines.index(f"RUN python3 -m images.smoke {packages} ${{TORCH}}") > user
        (labels,) = [line for line in lines if line.startswith("LABEL ")]
        for key in ("title", "description", "licenses", "version", "revision", "base.name"):
            assert f"org.opencontainers.image.{key}=" in labels


def test_nothing_is_copied_that_dockerignore_excludes(dockerfile: Path) -> None:
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    for lines in stages(dockerfile).values():
        for line in lines:
            if line.startswith("COPY ") and "--from" not in line:
                sources = line.split()[1:-1]
                assert all(source.partition("/")[0] in allowed for source in sources)


def test_the_lock_names_every_image_and_invents_no_digest() -> None:
    stage_of = {
        component: ("step", "worker") if component in STAGED else ("python",)
        for component in COMPONENTS
    }
    assert set(LOCK) == {
        "base",
        *(name(c, stage) for c, found in stage_of.items() for stage in found),
    }
    for entry in LOCK.values():
        assert set(entry) == {"reference", "digest"}
        assert entry["digest"] is None or re.fullmatch(r"sha256:[0-9a-f]{64}", entry["digest"])
    assert reference("plan").startswith(LOCK["plan-python"]["reference"].rpartition(":")[0])
