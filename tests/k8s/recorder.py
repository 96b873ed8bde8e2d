"""Stand-ins for the tools that scripts call: each call is recorded with its arguments and input,
and answered from a table.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.k8s.manifests import ROOT

TOOLS = (
    "docker",
    "kind",
    "kubectl",
    "curl",
    "git",
    "make",
    "xstilts",
    "rclone",
    "python",
    "aws",
    "helm",
)
#: What a script may find in the real PATH: the shell's own company, and python3 for versions.lock.
REAL = ("bash", "python3", "awk", "sed", "grep", "cut", "head", "tail", "tr", "cat", "rm", "mkdir", "mktemp", "dirname",
        "sha256sum", "df", "nproc", "tee", "sleep", "date", "install", "chmod", "cp", "env", "base64")  # fmt: skip

#: Without site: a process that starts a dozen times as fast.
STAND_IN = """#!{python} -IS
import json, os, re, sys, time
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
line = " ".join([name, *arguments])
piped = not sys.stdin.isatty() and "-" in arguments or "-i" in arguments
text = sys.stdin.read() if piped else ""
mine = {{"line": line, "input": text}}
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps(mine) + chr(10))
calls = [json.loads(one) for one in open(os.environ["RECORD"])]
def meant(answer, call):
    return re.search(answer["to"], call["line"]) and answer.get("input", "") in call["input"]
for answer in json.load(open(os.environ["ANSWERS"])):
    if sum(1 for call in calls if meant(answer, call)) > answer.get("times", len(calls)):
        continue
    if meant(answer, mine):
        if "file" in answer:
            open(arguments[arguments.index("--output") + 1], "w").write(answer["file"])
        time.sleep(answer.get("seconds", 0))
        sys.stdout.write(answer.get("says", ""))
        sys.stderr.write(answer.get("complains", ""))
        sys.exit(answer.get("status", 0))
"""


@dataclass
class Done:
    status: int
    output: str
    errors: str
    calls: list[dict[str, str]]
    places: Mapping[str, str]

    @property
    def lines(self) -> list[str]:
        """The commands that ran, with this machine's folders by name."""
        return [self.named(call["line"]) for call in self.calls]

    @property
    def announced(self) -> list[str]:
        """The commands that the scripts said they run."""
        return [self.named(line[2:]) for line in self.errors.splitlines() if line.startswith("+ ")]

    def named(self, text: str) -> str:
        for path, name in self.places.items():
            text = text.replace(path, name)
        return text


@dataclass
class Recorder:
    """A machine on which only stand-ins can be called. answers: the first whose regular
    expression matches is given. An answer may say what must stand in the command's input, and
    how many times it is given.
    """

    folder: Path
    answers: list[dict[str, object]] = field(default_factory=list)
    without: Sequence[str] = ()

    def run(self, script: Path, *arguments: str, **environment: str) -> Done:
        tools, record, answers = (
            self.folder / "bin",
            self.folder / "record",
            self.folder / "answers.json",
        )
        tools.mkdir(exist_ok=True)
        for name in TOOLS:
            tools.joinpath(name).unlink(missing_ok=True)
            if name not in self.without:
                tools.joinpath(name).write_text(STAND_IN.format(python=sys.executable))
                tools.joinpath(name).chmod(0o755)
        for name in REAL:
            if not tools.joinpath(name).exists():
                tools.joinpath(name).symlink_to(_real(name))
        record.write_text("")
        answers.write_text(json.dumps(self.answers))
        (self.folder / "work").mkdir(exist_ok=True)
        given = {
            "PATH": str(tools), "RECORD": str(record), "ANSWERS": str(answers), "HOME": str(self.folder),
            "XSTILTS": str(tools / "xstilts"), "XSTILTS_KIND_WORK": str(self.folder / "work"),
            "OUT": str(self.folder / "out"), "PROC": str(self.proc()), **environment,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", str(script), *arguments], env=given, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        calls = [json.loads(line) for line in record.read_text().splitlines()]
        places = {
            f"{tools}/": "",
            str(self.folder / "work"): "WORK",
            str(self.folder): "HOME",
            str(ROOT): "ROOT",
        }
        return Done(done.returncode, done.stdout, done.stderr, calls, places)

    def proc(self, instances: int = 1280, watches: int = 655360, free_gib: int = 20) -> Path:
        """A /proc with these limits and this much free memory."""
        limits = self.folder / "proc" / "sys" / "fs" / "inotify"
        limits.mkdir(parents=True, exist_ok=True)
        if not (limits / "max_user_instances").exists():
            self.set_limits(instances, watches, free_gib)
        return self.folder / "proc"

    def set_limits(self, instances: int, watches: int, free_gib: int) -> None:
        proc = self.folder / "proc"
        limits = proc / "sys" / "fs" / "inotify"
        limits.mkdir(parents=True, exist_ok=True)
        (limits / "max_user_instances").write_text(f"{instances}\n")
        (limits / "max_user_watches").write_text(f"{watches}\n")
        (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {free_gib * 1048576} kB\n")


def _real(name: str) -> Path:
    for folder in os.environ["PATH"].split(os.pathsep):
        if (Path(folder) / name).exists():
            return (Path(folder) / name).resolve() if name != "python3" else Path(sys.executable)
    raise FileNotFoundError(name)
