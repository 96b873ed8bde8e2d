"""Runs the tests of security and writes docs/reliability/security.json:

python -m tests.reliability.security [--whole-runs]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.reliability.page import RESULTS

#: What is checked → the tests that check it.
CHECKS: Mapping[str, Sequence[str]] = {
    "Digests and file names from a store lead to no file outside its folders": [
        "tests/store/test_documents.py"
    ],
    "Documents of a store of another form are refused with their key": [
        "tests/store/test_documents.py"
    ],
    "`export` writes into its folder only": ["tests/test_printable.py"],
    "Text of a plan or of data controls no terminal": ["tests/test_printable.py"],
    "Credentials in URLs are not printed": ["tests/test_printable.py", "tests/store/test_store.py"],
    "The key of the embedded server is on no command line": ["tests/store/test_server.py"],
    "Folders of a run are closed to other users; no predictable name in /tmp": [
        "tests/store/test_private_files.py",
        "tests/pipelines/test_scratch_folder.py",
    ],
    "`gc` deletes nothing if a document or a listing cannot be trusted": [
        "tests/store/test_garbage.py",
        "tests/store/test_layout.py",
    ],
}
#: The same, for tests that look at whole runs.
WHOLE_RUNS: Mapping[str, Sequence[str]] = {
    "Ports, tokens and secrets of a run (security.md)": ["tests/e2e/test_exposure.py"],
}


def result(tests: Sequence[str]) -> tuple[int, str]:
    """(number of tests, `passed` or how many did not)."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}", *tests],
            check=False,
            stdout=subprocess.DEVNULL,
        )
        suite = ElementTree.parse(report).getroot()[0]
    count = int(suite.get("tests", 0))
    bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    parts = [f"{bad} failed"] if bad else ["passed"]
    parts += [f"{skipped} skipped"] if skipped else []
    return count, ", ".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole-runs", action="store_true", help="also the tests of whole runs")
    checks = {**CHECKS, **(WHOLE_RUNS if parser.parse_args().whole_runs else {})}
    outcomes = {tuple(tests): result(tests) for tests in checks.values()}
    rows = [
        {"check": check, "tests": outcomes[tuple(tests)][0], "result": outcomes[tuple(tests)][1]}
        for check, tests in checks.items()
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "security.json"
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(f"{row['result']}: {row['check']}" for row in rows))
    sys.exit(any("failed" in str(row["result"]) for row in rows))
