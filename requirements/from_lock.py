"""Installs the packages of a lock file by hash: python requirements/from_lock.py cpu|cuda.

Needs only the standard library, pip and uv; installs into the environment of this Python. It looks
for torch's CPU build in three places, in this order:

1. pip's configuration: an index, or a wheel folder (PIP_FIND_LINKS);
2. PyTorch's own index of CPU builds, whose URL uv knows (`--torch-backend cpu`);
3. the ordinary index, whose Linux builds need the CUDA libraries in cuda.txt, about 3 GB, and also
   run on CPUs.
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
#: Packages that only torch's CUDA build needs.
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton)")
#: xstilts.environment.LIBRARIES: part of the fingerprints, though plan's image has none of them.
NUMERIC = ("torch", "transformers", "tokenizers", "peft", "pillow")
#: pip's message → why a place has no usable wheel. The first match counts: for a failed connection
#: pip also reports "no matching distribution". Any other failure (a full disk, a broken pip) ends
#: the installation, since another place would not help.
ABSENT = {
    "Could not fetch URL": "unreachable",
    "connection broken": "unreachable",
    "DO NOT MATCH THE HASHES": "its wheel for this platform is not in the lock",
    "No matching distribution": "no such wheel",
}
#: Timeout of an index in seconds.
PATIENCE = 10
#: Printed if the CUDA build is installed instead of the CPU build.
CUDA_TAKEN = (
    "the build of the ordinary index, with the CUDA libraries (about 3 GB; it runs on CPUs too)"
)


def blocks(lock: str) -> list[tuple[str, str]]:
    """(name, text with hashes) of every pin of a lock; a name occurs twice if builds differ by
    platform.
    """
    pins = re.findall(
        r"^([a-z0-9][a-z0-9._-]*)((?:\[[^\]]*\])?==(?:[^\n]*\\\n)*[^\n]*\n)", lock, re.M
    )
    return [(name, name + rest) for name, rest in pins]


def select(lock: str, names: set[str]) -> str:
    """The pins of some packages, and with torch the CUDA packages in the lock. Raises KeyError for
    a package that is not in the lock.
    """
    pins = blocks(lock)
    if absent := names - {name for name, _ in pins}:
        raise KeyError(f"not in the lock: {', '.join(sorted(absent))}")
    return "".join(
        text for name, text in pins if name in names or ("torch" in names and CUDA_ONLY.match(name))
    )


def versions(lock: str) -> dict[str, str]:
    """Library → locked version of the libraries in NUMERIC, without suffixes such as `+cpu`."""
    return {
        name: text.split("==")[1].split()[0].partition("+")[0]
        for name, text in blocks(lock)
        if name in NUMERIC
    }


class Place(NamedTuple):
    """A place of torch's CPU build: its title and pip's arguments. missing: why it is not
    available.
    """

    title: str
    arguments: tuple[str, ...] = ()
    missing: str = ""


def places(lock: str, python: str) -> Iterator[Place]:
    """The places of the CPU build; the second is looked up only if the first has none."""
    yield Place("pip's configuration")
    index, missing = cpu_index(lock, python)
    yield Place("PyTorch's CPU index", ("--index-url", index), missing)


def cpu_index(lock: str, python: str) -> tuple[str, str]:
    """(URL of PyTorch's CPU index, "") as uv resolves it, or ("", why it is not available)."""
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
        result = _run([*pip, "--require-hashes", "--target", str(tool), "-r", str(requirements)])
        if result.returncode:
            return "", f"cannot install uv, which knows its URL ({_end(result)})"
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
        timeouts = {
            "UV_HTTP_TIMEOUT": str(PATIENCE),
            "UV_HTTP_CONNECT_TIMEOUT": str(PATIENCE),
            "UV_HTTP_RETRIES": "0",
        }
        try:
            result = _run(command, timeouts, seconds=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            return "", f"timed out after {3 * PATIENCE} seconds"
    annotation = re.search(r"# from (\S+)", result.stdout)
    if result.returncode or annotation is None:
        return "", f"unreachable ({_end(result)})"
    return annotation[1], ""


def torch_build(pip: Sequence[str], locks: Path, python: str = sys.executable) -> str:
    """Installs torch's CPU pins by `pip … -r` from the first place that has them, and returns
    `cpu`; returns `cuda` if none has, with nothing installed. pip: a command such as
    `pip install …` or `pip download …`. python: a Python with pip, for uv. Raises SystemExit for
    a failure that another place would not fix.
    """
    lock = (locks / "cpu.txt").read_text()
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "torch.txt"
        requirements.write_text(select(lock, {"torch"}))
        for place in places(lock, python):
            reason = place.missing
            if not reason:
                result = _run(
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
                if not result.returncode:
                    say(f"CPU build from {place.title}")
                    return "cpu"
                text = result.stdout + result.stderr
                reason = next((reason for mark, reason in ABSENT.items() if mark in text), "")
                if not reason:
                    sys.exit(f"cannot install torch from {place.title}:\n{text.strip()}")
            say(f"no CPU build from {place.title}: {reason}")
    say(CUDA_TAKEN)
    return "cuda"


def held_build(wheels: Iterable[str], build: str) -> str:
    """The torch build in a list of wheel names: `cuda` if it has only that one, else `build`."""
    torch = [name for name in wheels if name.startswith("torch-")]
    return "cuda" if torch and not any("+cpu-" in name for name in torch) else build


def say(text: str) -> None:
    print(f"torch: {text}", flush=True)


def _run(
    command: Sequence[str], variables: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=seconds
    )


def _end(process: subprocess.CompletedProcess[str]) -> str:
    """The last line of a failed command's output."""
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
    print(f"installing requirements/{build}.txt: some minutes without output", flush=True)
    result = subprocess.run([*pip, "-r", str(HERE / f"{build}.txt")], check=False)
    if result.returncode:
        sys.exit(f"cannot install requirements/{build}.txt; see pip's message above")


if __name__ == "__main__":
    main(*sys.argv[1:])
