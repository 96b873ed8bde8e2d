"""Fuzzes the parsers with atheris: python -m tests.fuzz.run [TARGET]... [--seconds N]

atheris instruments the code and mutates inputs to reach new branches; see tests/fuzz/targets.py for
the targets. An input that ends in another exception than a documented one is written to the folder
`runs/fuzz/<target>`, and the exit code is 1. atheris is not part of the lock files: it has wheels
for Linux and some versions of Python only. Where it is not installed, this says so and ends.
"""

import argparse
import gzip
import io
import multiprocessing
import sys
from importlib.util import find_spec
from pathlib import Path

NAMES = ("document", "plan", "manifest", "submission", "rows", "weights", "picture")
PLANS = Path(__file__).parents[2] / "pipelines" / "plans"
#: Inputs to begin with. atheris mutates valid ones, so that they reach the code behind a header.
SEEDS = {
    "document": [b'{"a": [1, "b", null]}'],
    "manifest": [b'{"kind": "score", "fingerprint": "", "files": {}, "step": {}, "info": {}}'],
    "submission": [b'{"data": [{"paragraphs": [{"qas": [{"id": "1", "answers": []}]}]}]}'],
    "rows": [b'{"text": "a"}\n', gzip.compress(b'{"text": "a"}\n')],
    "weights": [
        b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4)
    ],
}


def seeds(name: str) -> list[bytes]:
    """Valid inputs of a target."""
    if name == "plan":
        return [file.read_bytes() for file in sorted(PLANS.glob("*.yaml"))]
    if name == "picture":
        return _pictures()
    return SEEDS[name]


def _pictures() -> list[bytes]:
    """A picture of 2 × 2 pixels in every accepted format."""
    from PIL import Image

    from xstilts.tasks.pictures import FORMATS  # atheris instruments it before

    files = [io.BytesIO() for _ in FORMATS]
    for file, kind in zip(files, FORMATS, strict=True):
        Image.new("RGB", (2, 2)).save(file, kind)
    return [file.getvalue() for file in files]


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzzes one target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["xstilts", "yaml", "json"]):
        from tests.fuzz.targets import TARGETS
    corpus = folder / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder / name}/", "-timeout=20"]
    atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=4096", str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[*NAMES, []], default=[])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args()
    if find_spec("atheris") is None:
        print(
            "skipped: atheris is not installed for Python "
            f"{sys.version_info.major}.{sys.version_info.minor} (pip install atheris)"
        )
        return 0
    failed = []
    for name in options.targets or NAMES:  # atheris ends its process
        process = multiprocessing.get_context("spawn").Process(
            target=fuzz, args=(name, options.seconds, options.out)
        )
        process.start()
        process.join()
        if process.exitcode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are in {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
