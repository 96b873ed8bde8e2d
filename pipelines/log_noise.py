"""Leaves out lines of KFP, Argo, botocore and Ray that are the same in every run, and the colors of
KFP's local runner.
"""

import re
from collections.abc import Iterable, Iterator

#: The start of a message of KFP's executor, or of Python's logging as the driver sets it.
#: KFP's local runner indents what a task prints, more if several run.
_START = r"^\s*(?:\[KFP Executor [^\]]*\]: |(?:INFO|WARNING) [\w.]+: |\S+ \S+ INFO \S+ -- )?"
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
            # kfp/local: pipeline_orchestrator.py, task_dispatcher.py, subprocess_task_handler.py
            r"^\s*-{60,}$",
            r"^\S+ - INFO - Streamed logs:$",
            r"RuntimeWarning: You may be attemping to run a task that uses custom",
            r"^  warnings\.warn\($",
            r"UserWarning: Task '[^']*': settings .* no effect in the current local runner",
            r"^  _warn_local_only_noops\(",
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
#: The first line of the trace that Ray prints when a run stops it.
_TERMINATED = re.compile(r"\*\*\* SIGTERM received at time=")
_FRAME = re.compile(r"^(?:\[[^\]]*\] logging\.cc:\d+: )?(?:PC: @ |    @ )")
#: Codes that color text on a terminal.
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
#: A line of an indented JSON document.
_JSON = re.compile(r"\s*(?:[{}\]\"]|(?:-?\d[\d.eE+-]*|true|false|null),?\s*$)")
#: A string of a JSON document; its braces open nothing.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class NoiseFilter:
    """Filters the lines of one log. A line of noise that opens a JSON object takes it along."""

    def __init__(self, off: bool = False) -> None:
        self._off = off
        #: Open braces of the object that is being left out, None outside of one.
        self._depth: int | None = None
        #: Whether frames of a trace are being left out.
        self._frames = False

    def __call__(self, lines: Iterable[str]) -> list[str]:
        return list(lines) if self._off else list(self._kept(lines))

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        for line in (_COLORS.sub("", line) for line in lines):
            self._frames = bool(_TERMINATED.search(line) or (self._frames and _FRAME.match(line)))
            if self._frames:
                continue
            if self._depth is not None and _JSON.match(line):
                braces = _STRING.sub("", line)
                self._depth += braces.count("{") - braces.count("}")
                if self._depth <= 0:
                    self._depth = None
                continue
            self._depth = None
            if not any(pattern.search(line) for pattern in LINES):
                yield line
            elif line.rstrip().endswith(("{", "executor_input:")):
                self._depth = int(line.rstrip().endswith("{"))
