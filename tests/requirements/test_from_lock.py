"""The places of torch's CPU build, and the build that is installed without it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from requirements import from_lock
from requirements.from_lock import HERE, Place, held_build, torch_build

INDEX = "https://index.invalid/cpu"
NO_WHEEL = "ERROR: No matching distribution found for torch==2.13.0+cpu"
OTHER_WHEEL = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
UNREACHABLE = f"WARNING: Retrying after connection broken by 'NewConnectionError'\n{NO_WHEEL}"

#: A fake pip that installs from known places and prints `text` for others.
PIP = """
import sys
index = sys.argv[sys.argv.index("--index-url") + 1] if "--index-url" in sys.argv else "configured"
assert "--hash=sha256:" in open(sys.argv[-1]).read(), "torch must be installed by hash"
if index not in {places!r}:
    sys.exit({text!r})
"""


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def make(*places: str, text: str = NO_WHEEL, index: tuple[str, str] = (INDEX, "")) -> list[str]:
        script = tmp_path / "pip.py"
        script.write_text(PIP.format(places=set(places), text=text))
        monkeypatch.setattr(from_lock, "cpu_index", lambda lock, python: index)
        return [sys.executable, str(script)]

    return make


def test_a_wheel_that_pip_is_configured_to_use_comes_first(
    fake_pip: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert torch_build(fake_pip("configured", INDEX), HERE) == "cpu"
    assert capsys.readouterr().out == "torch: CPU build from pip's configuration\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (NO_WHEEL, "no such wheel"),
        (OTHER_WHEEL, "its wheel for this platform is not in the lock"),
        (UNREACHABLE, "unreachable"),
    ],
)
def test_then_comes_the_index_of_cpu_builds(
    fake_pip: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    assert torch_build(fake_pip(INDEX, text=text), HERE) == "cpu"
    assert capsys.readouterr().out.splitlines() == [
        f"torch: no CPU build from pip's configuration: {reason}",
        "torch: CPU build from PyTorch's CPU index",
    ]


def test_without_either_the_build_of_the_ordinary_index_is_taken(
    fake_pip: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert torch_build(fake_pip(index=("", "unreachable (dns error)")), HERE) == "cuda"
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "torch: no CPU build from PyTorch's CPU index: unreachable (dns error)"
    assert "CUDA libraries (about 3 GB" in lines[2]


def test_a_failure_that_another_place_would_not_mend_ends_the_installation(
    fake_pip: Callable[..., list[str]],
) -> None:
    with pytest.raises(SystemExit, match="No space left on device"):
        torch_build(fake_pip(INDEX, text="ERROR: [Errno 28] No space left on device"), HERE)


def test_the_second_place_is_tried_only_if_the_first_has_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(lock: str, python: str) -> tuple[str, str]:
        raise AssertionError("asked for without need")

    monkeypatch.setattr(from_lock, "cpu_index", never)
    assert next(from_lock.places("", sys.executable)) == Place("pip's configuration")


@pytest.mark.parametrize(
    ("wheels", "build", "held"),
    [
        (["torch-2.13.0+cpu-cp311.whl", "numpy-2.whl"], "cpu", "cpu"),
        (["torch-2.13.0-cp311.whl", "nvidia_cublas-13.whl"], "cpu", "cuda"),
        (["torch-2.13.0+cpu-cp311.whl", "torch-2.13.0-cp311.whl"], "cpu", "cpu"),
        (["torch-2.13.0-cp311.whl"], "cuda", "cuda"),
        (["numpy-2.whl"], "cpu", "cpu"),
    ],
)
def test_the_available_wheels_decide_the_torch_build(
    wheels: list[str], build: str, held: str
) -> None:
    assert held_build(wheels, build) == held


def test_a_pin_of_both_locks_names_uv() -> None:
    for build in ("cpu", "cuda"):
        assert "uv==" in from_lock.select((HERE / f"{build}.txt").read_text(), {"uv"})
