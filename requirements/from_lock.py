"""Installs what a lock file pins, by hash, and looks for torch's CPU build. Standard library, pip
and uv only.

python requirements/from_lock.py cpu|cuda: fills the environment of this Python. torch's CPU build
is looked for in three places, in this order:

1. what pip is configured to use: an index, a wheel folder (PIP_FIND_LINKS);
2. PyTorch's own index of CPU builds, whose address uv knows (`--torch-backend cpu`);
3. the ordinary index. Its Linux builds need the CUDA libraries that cuda.txt pins, about 3 GB; they
run on CPUs too.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
#: What torch's CUDA build needs besides what its CPU build does.
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton)")
#: xstilts.environment.LIBRARIES: what the plan step fingerprints, though its image holds none of
#: them.
NUMERIC = ("torch", "transformers", "tokenizers", "peft", "pillow")
#: What pip says when a place has no wheel that fits, cannot be reached, or has a wheel that is not
#: the locked one. Any other failure (a full disk, a broken pip) ends the installation: another
#: place would not help.
ABSENT = {  # the first that matches: when a connection fails, pip says "no matching distribution" as well
    "Could not fetch URL": "it cannot be reached",
    "connection broken": "it cannot be reached",
    "DO NOT MATCH THE HASHES": "its wheel for this platform is not a locked one",
    "No matching distribution": "it has no such wheel",
}
#: Seconds that an index may take to answer.
PATIENCE = 10
#: What is printed when the CUDA build is taken in place of the CPU build.
CUDA_TAKEN = (
    "the build of the ordinary index, with the CUDA libraries (about 3 GB; it runs on CPUs too)"
)


def blocks(lock: str) -> list[tuple[str, str]]:
    """(name, text) of every pin of a lock, hashes included; a name comes twice where builds
    differ by platform.
    """
    pins = re.findall(
        r"^([a-z0-9][a-z0-9._-]*)((?:\[[^\]]*\])?==(?:[^\n]*\\\n)*[^\n]*\n)", lock, re.M
    )
    return [(name, name + rest) for name, rest in pins]


def select(lock: str, names: set[str]) -> str:
    """The pins of some packages; torch takes its CUDA packages with it where the lock has them.
    Raises KeyError for a package that the lock lacks.
    """
    pins = blocks(lock)
    if absent := names - {name for name, _ in pins}:
        raise KeyError(f"not in the lock: {', '.join(sorted(absent))}")
    return "".join(
        text for name, text in pins if name in names or ("torch" in names and CUDA_ONLY.match(name))
    )


def versions(lock: str) -> dict[str, str]:
    """library → version of the lock, for what the results depend on; without local parts such as
    `+cpu`.
    """
    return {
        name: text.split("==")[1].split()[0].partition("+")[0]
        for name, text in blocks(lock)
        if name in NUMERIC
    }


class Place(NamedTuple):
    """Where torch's CPU build may be: a title for people and pip's arguments. missing: why there
    is no such place.
    """

    title: str
    arguments: tuple[str, ...] = ()
    missing: str = ""


def places(lock: str, python: str) -> Iterator[Place]:
    """The places of the CPU build. The second is asked for only when the first has nothing."""
    yield Place("pip's configuration")
    index, missing = cpu_index(lock, python)
    yield Place("PyTorch's CPU index", ("--index-url", index), missing)


def cpu_index(lock: str, python: str) -> tuple[str, str]:
    """(address of PyTorch's CPU index, "") as uv resolves it, or ("", why it cannot be used)."""
    with tempfile.TemporaryDirectory() as scratch:
        requirements, torch = Path(scratch) / "uv.txt", Path(scratch) / "torch.in"
        requirements.write_text(select(lock, {"uv"}))
        torch.write_text(f"torch=={versions(lock)['torch']}\n")
        tool = Path(scratch) / "tool"
        pip = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        got = _run([*pip, "--require-hashes", "--target", str(tool), "-r", str(requirements)])
        if got.returncode:
            return "", f"uv, which knows its address, cannot be installed ({_end(got)})"
        command = [
            str(tool / "bin" / "uv"),
            "pip",
            "compile",
            "--quiet",
            "--no-cache",
            "--no-config",
            "--torch-backend",
            "cpu",
            "--no-deps",
            "--no-header",
            "--emit-index-annotation",
            str(torch),
        ]
        quick = {
            "UV_HTTP_TIMEOUT": str(PATIENCE),
            "UV_HTTP_CONNECT_TIMEOUT": str(PATIENCE),
            "UV_HTTP_RETRIES": "0",
        }
        try:
            got = _run(command, quick, seconds=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            return "", f"it did not answer within {3 * PATIENCE} seconds"
    annotation = re.search(r"# from (\S+)", got.stdout)
    if got.returncode or annotation is None:
        return "", f"it cannot be reached ({_end(got)})"
    return annotation[1], ""


def torch_build(pip: Sequence[str], locks: Path, python: str = sys.executable) -> str:
    """The build that this machine can have. Runs `pip … -r` on the CPU pins of torch, place
    after place, and returns `cpu` once a place has given it; `cuda` when none has: nothing of
    that is installed yet. pip: a command such as `pip install …` or `pip download …`; python:
    one that has pip, for uv. SystemExit for a failure that another place would not mend.
    """
    lock = (locks / "cpu.txt").read_text()
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "torch.txt"
        requirements.write_text(select(lock, {"torch"}))
        for place in places(lock, python):
            reason = place.missing
            if not reason:
                got = _run(
                    [
                        *pip,
                        "--retries",
                        "1",
                        "--timeout",
                        str(PATIENCE),
                        *place.arguments,
                        "-r",
                        str(requirements),
                    ]
                )
                if not got.returncode:
                    say(f"its CPU build, from {place.title}")
                    return "cpu"
                text = got.stdout + got.stderr
                reason = next((reason for mark, reason in ABSENT.items() if mark in text), "")
                if not reason:
                    sys.exit(f"torch cannot be installed from {place.title}:\n{text.strip()}")
            say(f"no CPU build from {place.title}: {reason}")
    say(CUDA_TAKEN)
    return "cuda"


def held_build(wheels: Iterable[str], build: str) -> str:
    """The build whose torch a folder of wheels (file names) holds: `cuda` where the CPU build
    was asked for and only the other one is there. `build` where there is no torch.
    """
    torch = [name for name in wheels if name.startswith("torch-")]
    return "cuda" if torch and not any("+cpu-" in name for name in torch) else build


def say(text: str) -> None:
    print(f"torch: {text}", flush=True)


def _run(
    command: Sequence[str], more: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(more or {})}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=seconds
    )


def _end(process: subprocess.CompletedProcess[str]) -> str:
    """The last line that a failed command wrote."""
    lines = (process.stdout + process.stderr).strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {process.returncode}"


def main(build: str) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--no-deps",
    ]
    if build == "cpu":
        build = torch_build(pip, HERE)
    done = subprocess.run([*pip, "-r", str(HERE / f"{build}.txt")], check=False)
    if done.returncode:
        sys.exit(f"requirements/{build}.txt cannot be installed; see pip's message above")


if __name__ == "__main__":
    main(*sys.argv[1:])
