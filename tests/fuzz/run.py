"""Fuzzes the parsers with atheris: python -m tests.fuzz.run [TARGET]... [--seconds N]

atheris instruments the code and mutates inputs to reach new branches; see tests/fuzz/targets.py for
the targets. An input that ends in another exception than a documented one is written to the folder
`runs/fuzz/<target>`, and the exit code is 1. atheris is not part of the lock files: it has wheels
for Linux and some versions of Python only. Where it is not installed, this says so and ends.
"""

import argparse
import multiprocessing
import sys
from importlib.util import find_spec
from pathlib import Path

NAMES = ("document", "plan", "manifest", "submission", "rows", "weights", "picture")
#: Inputs to begin with.
SEEDS = {
    "document": b'{"a": [1, "b", null]}',
    "plan": b"name: a\nbackbones: {b: {hub: o/m, family: llama, tuning: lora}}\nevaluations: [udpos]\n",
    "manifest": b'{"kind": "score", "fingerprint": "", "files": {}, "step": {}, "info": {}}',
    "submission": b'{"data": [{"paragraphs": [{"qas": [{"id": "1", "answers": []}]}]}]}',
    "rows": b'{"text": "a"}\n',
    "weights": b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzzes one target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["xstilts", "yaml", "json"]):
        from tests.fuzz.targets import TARGETS
    corpus = folder / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "seed").write_bytes(SEEDS[name])
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
