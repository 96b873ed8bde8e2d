"""Leaves out lines of KFP, Argo, botocore and Ray that are the same in every run."""

import re
from collections.abc import Iterable, Iterator

#: The start of a message of KFP's executor, or of Python's logging as the driver sets it.
_START = r"^(?:\[KFP Executor [^\]]*\]: |(?:INFO|WARNING) [\w.]+: |\S+ \S+ INFO \S+ -- )?"
#: Lines that say nothing of this run. Warnings and errors are kept.
LINES = tuple(
    map(
        re.compile,
        (
            # kfp/dsl/executor_main.py
            rf"{_START}Looking for component `",
            rf"{_START}Loading KFP component ",
            rf"{_START}Got executor_input:",
            rf"{_START}Wrote executor output file to ",
            # KFP's launcher and Argo's, which log with glog and logrus
            r"^I\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+\.go:\d+\]",
            r"^time=\S+ level=info ",
            # botocore/credentials.py, botocore/configprovider.py
            rf"{_START}Found credentials in ",
            rf"{_START}Found endpoint for \S+ via: ",
            # ray/_private/worker.py, ray/train
            r"\(autoscaler \+[^)]*\) Tip: ",
            r"Reporting training result \d+: ",
        ),
    )
)


class NoiseFilter:
    """Filters the lines of one log. A line of noise that opens a JSON object takes it along."""

    def __init__(self, off: bool = False) -> None:
        self._off, self._inside = off, False

    def __call__(self, lines: Iterable[str]) -> list[str]:
        return list(lines) if self._off else list(self._kept(lines))

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            if self._inside and line[:1] in ("{", "}", " ", "\t"):
                self._inside = line.rstrip() != "}"
                continue
            self._inside = False
            if any(pattern.search(line) for pattern in LINES):
                self._inside = line.rstrip().endswith(("{", "executor_input:"))
                continue
            yield line
