"""Bad inputs: what users, mirrors, stores and hubs may hand to xstilts.

A case is (area, name, what happens to a folder). What happens ends with an exit code and a message:
a command line that runs in this process, or a function whose error a step or command reports.
"""

import bz2
import contextlib
import functools
import gzip
import io
import json
import os
import socket
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipelines.cli import main
from xstilts.errors import XstiltsError

Outcome = tuple[int, str]
Case = tuple[str, str, Callable[[Path], Outcome]]
Make = Callable[[Path], Any]


def cli(*arguments: Any) -> Outcome:
    """(exit code, message) of a command line: stderr, or without one stdout."""
    out, err, stdout = io.StringIO(), io.StringIO(), sys.__stdout__
    sys.__stdout__ = out  # type: ignore[misc]  # results are printed there: see pipelines/console.py
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
            code = main([str(argument) for argument in arguments])
    finally:
        sys.__stdout__ = stdout  # type: ignore[misc]
    return code, err.getvalue() or out.getvalue()


def called(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """(exit code, message) that a function's error would end a command with."""
    try:
        function(*arguments)
    except XstiltsError as error:
        return error.exit_code, str(error)
    return 0, ""


# ---- things that are not files, and bytes that are not text ----


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is limited to 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


#: In place of any file.
NO_FILES: dict[str, Make] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
}
DEEP = 100_000
#: In place of the bytes of any JSON document.
NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "truncated": b'{"a": [1, 2',
    "not JSON": b"name: a",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "null bytes": b"\0" * 64,
    "null": b"null",
    "a list": b"[]",
    "text": b'"a"',
    "a number": b"7",
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep, but not for Python": b"[" * 300 + b"]" * 300,
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a number that is too large": b'{"a": 1e999}',
    "an integer of 30 digits": b'{"a": 123456789012345678901234567890}',
    "an integer of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a duplicate key": b'{"a": 1, "a": 2}',
    "half of a surrogate pair": b'{"a": "\\ud800"}',
    "a comma too many": b'{"a": 1,}',
    "two documents": b"{}{}",
}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
#: In place of the text of any YAML document.
NO_YAML: dict[str, bytes] = {
    "not UTF-8": b"name: \xff\xfe",
    "UTF-16": "name: a".encode("utf-16"),
    "null bytes": b"name: a\0",
    "control characters": b"name: \x07",
    "a list": b"- a\n",
    "text": b"a",
    "a number": b"7",
    "not YAML": b"name: [a\n",
    "tabs": b"a:\n\tb: 1\n",
    "a duplicate key": b"name: a\nname: b\n",
    "two documents": b"name: a\n---\nname: b\n",
    "an unknown alias": b"name: *a\n",
    "an alias within its anchor": b"name: &a [*a]\n",
    "nested aliases (billion laughs)": LAUGHS.encode(),
    "deep lists": b"name: " + b"[" * DEEP,
    "deep lists, closed": b"name: " + b"[" * 300 + b"]" * 300,
    "deep mappings": b"\n".join(b" " * depth + b"a:" for depth in range(400)),
    "a Python object": b"name: !!python/object/apply:os.system [true]\n",
    "an invalid date": b"name: 2024-13-45\n",
    "an integer of 5000 digits": b"name: " + b"9" * 5000,
    "a list as a key": b"? [a]\n: b\n",
    "invalid binary": b"name: !!binary '='\n",
    "invalid integer": b"name: !!int abc\n",
    "larger than 4 MiB": b"# " + b"x" * (5 << 20) + b"\nname: a\n",
}


def _written(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def _of_files(
    area: str, name: str, use: Callable[[Path], Outcome], bad: dict[str, Make]
) -> Iterator[Case]:
    """One case for each thing in place of a file."""
    for what, make in bad.items():

        def run(folder: Path, make: Make = make) -> Outcome:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            return use(path)

        yield area, f"{name} is {what}" if not what.startswith("with ") else f"{name} {what}", run


def bad_json(*, but: tuple[str, ...] = ()) -> dict[str, Make]:
    return {what: _written(data) for what, data in NO_JSON.items() if what not in but}


def bad_yaml(*, but: tuple[str, ...] = ()) -> dict[str, Make]:
    return {what: _written(data) for what, data in NO_YAML.items() if what not in but}


# ---- plans, settings, schedules ----

PLAN = """\
name: small
recipes: miniature
backbones: {b: {build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}, tuning: lora}}
arms: {captions: {task: snli}}
evaluations: [udpos]
languages: [en]
"""
#: Old text → new text of PLAN.
PLAN_CHANGES = {
    "an unknown key": ("name: small", "name: small\ntypo: 1"),
    "no name": ("name: small\n", ""),
    "a name with slashes": ("name: small", "name: ../../evil"),
    "a name that is a number": ("name: small", "name: 7"),
    "a name with a line break": ("name: small", 'name: "a\\nb"'),
    "a very long name": ("name: small", f"name: {'a' * 5000}"),
    "no backbones": (
        "backbones: {b: {build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}, tuning: lora}}\n",
        "",
    ),
    "backbones as a list": (
        "{b: {build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}, tuning: lora}}",
        "[b]",
    ),
    "a backbone that is null": (
        "{build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}, tuning: lora}",
        "null",
    ),
    "an unknown family": ("family: xlm_r", "family: gpt5"),
    "an unknown tuning": ("tuning: lora", "tuning: magic"),
    "a seed that is text": ("seed: 0", "seed: zero"),
    "a seed that is negative": ("seed: 0", "seed: -1"),
    "a seed of 30 digits": ("seed: 0", f"seed: {'9' * 30}"),
    "a seed that is infinite": ("seed: 0", "seed: .inf"),
    "an unknown task": ("task: snli", "task: nothing"),
    "a task that is a list": ("task: snli", "task: [snli]"),
    "an arm called none": ("captions: {", "none: {"),
    "an unknown evaluation": ("[udpos]", "[nothing]"),
    "no evaluations": ("[udpos]", "[]"),
    "evaluations as text": ("[udpos]", "udpos"),
    "an unknown language": ("[en]", "[xx]"),
    "languages with a number": ("[en]", "[7]"),
    "unknown recipes": ("recipes: miniature", "recipes: nothing"),
    "the boolean of an unquoted no": ("[en]", "[no]"),
    "seeds as text": ("languages: [en]", "languages: [en]\nseeds: many"),
    "seeds that are NaN": (
        "languages: [en]",
        "languages: [en]\nseeds: {intermediate: [.nan], target: [0]}",
    ),
    "a budget of zero": ("languages: [en]", "languages: [en]\nbudget: {examples: 0, updates: 6}"),
    "a negative budget": ("languages: [en]", "languages: [en]\nbudget: {examples: -5, updates: 6}"),
    "rows that are text": ("languages: [en]", "languages: [en]\nrows: {train: all}"),
    "workers that are zero": ("languages: [en]", "languages: [en]\nresources: {workers: 0}"),
    "an absurd number of workers": (
        "languages: [en]",
        "languages: [en]\nresources: {workers: 1000000000000}",
    ),
    "contrasts of unknown arms": (
        "languages: [en]",
        "languages: [en]\ncontrasts: {c: {arm: x, reference: y}}",
    ),
    "an unknown headline": ("languages: [en]", "languages: [en]\nheadline: nothing"),
    "confidence above 1": ("languages: [en]", "languages: [en]\nconfidence: 2"),
    "a task file that is missing": ("languages: [en]", "languages: [en]\ntasks: [missing.py]"),
    "a task file that is a number": ("languages: [en]", "languages: [en]\ntasks: [7]"),
    "a merge key of no mapping": ("name: small", "name: small\n<<: 7"),
    "a date as a name": ("name: small", "name: 2024-01-01"),
    "keys of another type": ("name: small", "name: small\n7: 1\nnull: 2"),
}


def plans() -> Iterator[Case]:
    def use(path: Path) -> Outcome:
        return cli("plan", path)

    yield from _of_files("plan", "plan.yaml", use, NO_FILES)
    yield from _of_files("plan", "plan.yaml", use, bad_yaml())
    for what, (old, new) in PLAN_CHANGES.items():
        assert old in PLAN, what
        changed = PLAN.replace(old, new).encode()
        yield from _of_files("plan", "plan.yaml", use, {f"with {what}": _written(changed)})


TASK_FILES = {
    "empty": b"",
    "not Python": b"TASKS = (",
    "binary": b"\x7fELF\0\0",
    "not UTF-8": b"# \xff\nTASKS = ()",
    "without tasks": b"x = 1",
    "of something else than tasks": b"TASKS = (1, 2)",
    "raising": b"raise KeyError('a')",
    "leaving": b"import sys; sys.exit(0)",
    "importing what is not installed": b"import not_installed_at_all",
}


def task_files() -> Iterator[Case]:
    def use(path: Path) -> Outcome:
        return cli("tasks", "--tasks", path)

    yield from _of_files("task file", "tasks.py", use, NO_FILES)
    yield from _of_files(
        "task file", "tasks.py", use, {f: _written(d) for f, d in TASK_FILES.items()}
    )


SETTINGS = {
    "an unknown key": "nothing: 1",
    "days as text": "days: many",
    "negative days": "days: -1",
    "days that are infinite": "days: .inf",
    "days that are a list": "ttl_days: [1]",
}


def settings() -> Iterator[Case]:
    def use(path: Path) -> Outcome:
        return cli("compile", "-o", path.parent / "package.yaml", "--settings", path)

    # An empty file, and null, are the defaults.
    yield from _of_files("settings", "settings.yaml", use, NO_FILES)
    yield from _of_files("settings", "settings.yaml", use, bad_yaml())
    more = {f"with {what}": _written(text.encode()) for what, text in SETTINGS.items()}
    yield from _of_files("settings", "settings.yaml", use, more)


SCHEDULES = {
    "no name": "plan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC",
    "an unknown key": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC\nnothing: 1",
    "a cron line of words": "name: a\nplan: p.yaml\ncron: every monday\ntimezone: UTC",
    "a cron line out of range": "name: a\nplan: p.yaml\ncron: '99 99 99 * * 9'\ntimezone: UTC",
    "an unknown time zone": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: Mars/Olympus",
    "a time zone outside the folder": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: ../../etc/passwd",
    "a plan that is missing": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC",
    "seeds that are negative": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC\nadd_seeds: -1",
    "an invalid start": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC\nstart: yesterday",
    "one name twice": "name: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC\n---\nname: a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC",
    "a name with slashes": "name: ../a\nplan: p.yaml\ncron: '0 0 3 * * 1'\ntimezone: UTC",
}


def schedules() -> Iterator[Case]:
    def use(path: Path) -> Outcome:
        from pipelines.recurring_runs import load

        return called(load, path, "UTC")

    no_files = {what: make for what, make in NO_FILES.items() if what != "a folder"}
    yield from _of_files("schedule", "schedule.yaml", use, no_files)
    yield from _of_files("schedule", "schedule.yaml", use, bad_yaml())
    more = {f"with {what}": _written(text.encode()) for what, text in SCHEDULES.items()}
    yield from _of_files("schedule", "schedule.yaml", use, more)
    yield from _of_files(
        "schedule", "schedules", use, {"an empty folder": lambda path: path.mkdir()}
    )


# ---- submissions ----

#: File of a submission → contents that the official rules refuse, or no program can read.
SUBMISSIONS: dict[str, dict[str, bytes]] = {
    "xnli/test-sw.tsv": {
        "empty": b"", "binary": b"\0" * 50, "not UTF-8": b"\xffneutral\n", "UTF-16": "neutral\n".encode("utf-16"),
        "with another label": b"maybe\n", "with a byte order mark": b"\xef\xbb\xbfneutral\n", "one long line": b"x" * 2_000_000,
    },
    "xquad/test-en.json": {
        **{what: data for what, data in NO_JSON.items() if what != "an integer of 30 digits"},
        "with a list as an answer": b'{"q": ["a"]}', "with null as an answer": b'{"q": null}',
        "in the form of the labels": b'{"data": [{"paragraphs": []}]}',
    },
    "xcopa/test-et.jsonl": {
        "of lists": b"[1]\n", "without labels": b"{}\n", "with a label that is NaN": b'{"label": NaN}\n',
        "with an infinite label": b'{"label": 1e999}\n', "with a label of 5000 digits": b'{"label": ' + b"9" * 5000 + b"}\n",
        "deep": b"[" * DEEP + b"\n", "with a blank line": b"\n",
    },
    "tatoeba/test-de.tsv": {"with words": b"one\n", "with a huge number": b"9" * 5000 + b"\n", "with negative numbers": b"-1\n"},
    "bucc2018/test-de.tsv": {"without tabs": b"de-000000001\n", "with other ids": b"a\tb\n", "with three columns": b"a\tb\tc\n"},
    "udpos/test-de.tsv": {"with another tag": b"NOON\n\n", "only blank lines": b"\n\n\n"},
}  # fmt: skip


def _submission_file(name: str) -> str:
    """The file of a task and language in the benchmark's own layout."""
    from xstilts.official.layout import TABLES

    task, _, rest = name.partition("/")
    language = rest.removeprefix("test-").partition(".")[0]
    table = next(t for t in TABLES.values() if task in t and language in t[task].languages)
    return str(table[task].file(language))


def submissions() -> Iterator[Case]:
    for name, contents in SUBMISSIONS.items():
        for what, data in contents.items():

            def run(folder: Path, name: str = name, data: bytes = data) -> Outcome:
                path = folder / _submission_file(name)
                path.parent.mkdir(parents=True)
                path.write_bytes(data)
                benchmark = "xtreme" if name.startswith("bucc") else "xtreme-r"
                code, message = cli("validate", folder, "--benchmark", benchmark)
                # Every other file of the benchmark is missing as well.
                lines = [line for line in message.splitlines() if str(path) in line]
                return code, "\n".join(lines)

            yield "submission", f"{name} is {what}".replace("is with", "is, with"), run
    for what, make in NO_FILES.items():

        def run_no_file(folder: Path, make: Make = make) -> Outcome:
            path = folder / _submission_file("xquad/test-en.json")
            path.parent.mkdir(parents=True)
            make(path)
            code, message = cli("validate", folder)
            return code, "\n".join(line for line in message.splitlines() if str(path) in line)

        yield "submission", f"xquad/test-en.json is {what}", run_no_file
    yield from _of_files("submission", "submission", lambda path: cli("validate", path), {
        "missing": lambda path: None, "a file": _written(b"a"), "a FIFO": os.mkfifo, "an empty folder": lambda path: path.mkdir(),
    })  # fmt: skip
    yield from _of_files("submission", "labels", lambda path: cli("grade", path.parent, path), {
        "missing": lambda path: None, "a file": _written(b"a"), "an empty folder": lambda path: path.mkdir(),
    })  # fmt: skip


# ---- mirrors ----

FILE = {"size": 4, "sha256": "0" * 64, "revision": "a" * 40, "origin": "a.parquet"}
RECORD = {"kind": "dataset", "name": "org/name", "licence": None, "files": {"a.parquet": FILE}}


def _record(**changes: Any) -> bytes:
    return json.dumps({**RECORD, **changes}).encode()


RECORDS: dict[str, bytes] = {
    "without files": json.dumps({"kind": "dataset"}).encode(),
    "with files as a list": _record(files=[]),
    "with a file that is null": _record(files={"a.parquet": None}),
    "with a file outside the folder": _record(files={"../../evil": FILE}),
    "with an absolute file": _record(files={"/etc/passwd": FILE}),
    "with a file whose name has a null byte": _record(files={"a\0": FILE}),
    "with a file with backslashes": _record(files={"..\\evil": FILE}),
    "with a file without a name": _record(files={"": FILE}),
    "with a digest that is a path": _record(files={"a.parquet": {**FILE, "sha256": "/etc/passwd"}}),
    "with a digest in capitals": _record(files={"a.parquet": {**FILE, "sha256": "A" * 64}}),
    "with a size that is text": _record(files={"a.parquet": {**FILE, "size": "4"}}),
    "with a negative size": _record(files={"a.parquet": {**FILE, "size": -4}}),
    "with a size that is true": _record(files={"a.parquet": {**FILE, "size": True}}),
    "with an unknown key": _record(files={"a.parquet": {**FILE, "more": 1}}),
    "with a revision that is a number": _record(files={"a.parquet": {**FILE, "revision": 7}}),
    "with a name that is a list": _record(name=[]),
    "with a kind that is null": _record(kind=None),
}


def mirrors() -> Iterator[Case]:
    def verify(path: Path) -> Outcome:
        return cli("mirror", "verify", path.parents[2])

    name = "org/name/.xstilts.json"
    yield from _of_files("mirror", name, verify, bad_json())
    yield from _of_files(
        "mirror", name, verify, {what: _written(data) for what, data in RECORDS.items()}
    )
    not_files = {
        what: NO_FILES[what]
        for what in ("a folder", "a FIFO", "a socket", "a device", "a link to itself")
    }
    yield from _of_files("mirror", name, verify, not_files)

    def recorded(path: Path) -> Outcome:
        (path.parent / ".xstilts.json").write_bytes(_record())
        return cli("mirror", "verify", path.parents[2])

    yield from _of_files(
        "mirror",
        "org/name/a.parquet",
        recorded,
        {**NO_FILES, "with other bytes": _written(b"abcd")},
    )
    yield from _of_files("mirror", "mirror to verify", lambda path: cli("mirror", "verify", path), {
        "a file": _written(b"a"), "a FIFO": os.mkfifo,
    })  # fmt: skip
    yield from _of_files("mirror", "mirror", lambda path: cli("plan", "tests/e2e/small.yaml", "--mirror", path), {
        "missing": lambda path: None, "a file": _written(b"a"), "an empty folder": lambda path: path.mkdir(),
        "a link to itself": NO_FILES["a link to itself"],
    })  # fmt: skip


# ---- rows ----


def _gz(data: bytes) -> bytes:
    return gzip.compress(data)


def _tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def _member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@functools.cache
def _zeros(size: int) -> bytes:
    """A gzip file of 100 kB that expands to `size` bytes."""
    packer = zlib.compressobj(9, wbits=31)
    chunk = b"\0" * (1 << 20)
    return b"".join([*(packer.compress(chunk) for _ in range(size >> 20)), packer.flush()])


LINE = b'{"text": "a"}\n'
ROW_FILES: dict[str, dict[str, Callable[[], bytes]]] = {
    "rows.json": {
        "empty within a list": lambda: b"[",
        "a list that ends early": lambda: b'[{"a": 1},',
        "a deep list": lambda: b"[" * DEEP,
        "a list in UTF-16": lambda: b"[" + '"a"]'.encode("utf-16"),
        "a list with NUL": lambda: b"[\0]",
    },
    "rows.jsonl.gz": {
        "empty": lambda: b"",
        "not gzip": lambda: LINE,
        "truncated": lambda: _gz(LINE * 500)[:-12],
        "with a wrong checksum": lambda: _gz(LINE)[:-8] + b"\0" * 8,
        "with garbage after it": lambda: _gz(LINE) + b"garbage",
        "another compression": lambda: bz2.compress(LINE),
        "a decompression bomb": lambda: _zeros(96 << 20),
        "a bomb within a bomb": lambda: _gz(_zeros(4 << 20))[:-9],
    },
    "rows.jsonl.tar.gz": {
        "empty": lambda: b"",
        "not an archive": lambda: _gz(LINE),
        "truncated": lambda: _tar(("a.jsonl", LINE * 5000))[:-40],
        "without a data file": lambda: _tar(("README", LINE)),
        "with two data files": lambda: _tar(("a.jsonl", LINE), ("b.jsonl", LINE)),
        "with a member above": lambda: _tar(("../a.jsonl", LINE)),
        "with an absolute member": lambda: _tar(("/a.jsonl", LINE)),
        "with a link": lambda: _tar(_member("a.jsonl", tarfile.SYMTYPE, "/etc/passwd")),
        "with a hard link": lambda: _tar(_member("a.jsonl", tarfile.LNKTYPE, "/etc/passwd")),
        "with a device": lambda: _tar(_member("a.jsonl", tarfile.CHRTYPE)),
        "with a FIFO": lambda: _tar(_member("a.jsonl", tarfile.FIFOTYPE)),
        "a decompression bomb": lambda: _zeros(96 << 20),
    },
}  # fmt: skip
CONLLU = "1\ta\ta\tNOUN\t_\t_\t0\troot\t_\t_\n"
CONLLU_FILES: dict[str, bytes] = {
    "not UTF-8": b"1\t\xff\n",
    "binary": bytes(range(256)),
    "a web page": b"<!doctype html>\n<p>404</p>\n",
    "with words for numbers": CONLLU.replace("1\t", "one\t", 1).encode(),
    "with a head that is a word": CONLLU.replace("\t0\t", "\troot\t").encode(),
    "with four columns": b"1\ta\ta\tNOUN\n",
    "with an empty range": b"1-2\tau\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\tADP\t_\t_\t0\troot\t_\t_\n",
    "with a range of nothing": b"3-9\tau\t_\t_\t_\t_\t_\t_\t_\t_\n" + CONLLU.encode(),
    "with a cycle in a range": b"1-2\tau\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\tADP\t_\t_\t2\tx\t_\t_\n2\tb\tb\tDET\t_\t_\t1\tx\t_\t_\n",
    "with heads outside the sentence": b"1-2\tau\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\tADP\t_\t_\t99\tx\t_\t_\n2\tb\tb\tDET\t_\t_\t98\tx\t_\t_\n",
    "with a backward range": b"2-1\tau\t_\t_\t_\t_\t_\t_\t_\t_\n" + CONLLU.encode(),
}
#: What the converter of Universal Dependencies reads without complaint: nothing, or a sentence.
CONLLU_READ = (
    "with a range of nothing",
    "with a cycle in a range",
    "with a backward range",
    "with heads outside the sentence",
)
PARQUET_FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a web page": lambda: b"<!doctype html>",
    "only the magic number": lambda: b"PAR1PAR1",
    "truncated": lambda: _parquet()[:-20],
    "with a damaged footer": lambda: _parquet()[:-30] + b"\xff" * 22 + _parquet()[-8:],
    "with an absurd footer": lambda: _parquet()[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1",
    "with damaged pages": lambda: _parquet()[:8] + b"\xff" * 60 + _parquet()[68:],
    "an Arrow file": lambda: b"ARROW1\0\0" + b"\0" * 100,
}


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a" * 50] * 50, "n": range(50)}), out)
    return out.getvalue()


def rows() -> Iterator[Case]:
    def json_rows(path: Path) -> Outcome:
        from xstilts.sources.json_rows import JsonRows

        return called(lambda: list(JsonRows([path]).rows))

    for name, contents in ROW_FILES.items():
        made: dict[str, Make] = {
            what: lambda path, make=make: path.write_bytes(make())
            for what, make in contents.items()
        }
        yield from _of_files("rows", name, json_rows, made)
    yield from _of_files("rows", "rows.jsonl", json_rows, NO_FILES)

    def one_row(path: Path) -> Outcome:
        """A line that is no row: the reason of a bad row, of which a step tolerates a few."""
        from xstilts.data.records import read_rows
        from xstilts.sources.json_rows import JsonRows
        from xstilts.tasks.registry import TASKS

        _, bad, _ = read_rows(TASKS["text_lm"], JsonRows([path]), [0], "en", None)
        return (2, f"row 0: {bad[0]['reason']}") if bad else (0, "")

    # Numbers, NaN and duplicate keys in columns that no task reads do no harm.
    harmless = (
        "empty",
        "NaN",
        "Infinity",
        "a number that is too large",
        "an integer of 30 digits",
        "a duplicate key",
    )
    lines = {what: _written(data) for what, data in NO_JSON.items() if what not in harmless}
    lines |= {
        "a row without the column": _written(b"{}"),
        "a row with null": _written(b'{"text": null}'),
        "a row with a number": _written(b'{"text": 7}'),
        "a row with a list": _written(b'{"text": ["a"]}'),
    }
    lines.pop("a list")  # an array of rows without any
    for what in ("deep lists", "deep, but not for Python"):
        lines.pop(what)  # an array of rows: see rows.json
    yield from _of_files("rows", "line.jsonl", one_row, lines)

    def conllu(path: Path) -> Outcome:
        from xstilts.sources.conllu_rows import read_sentences

        return called(read_sentences, [path])

    bad = {what: _written(data) for what, data in CONLLU_FILES.items() if what not in CONLLU_READ}
    yield from _of_files("rows", "fr_x-ud-test.conllu", conllu, {**NO_FILES, **bad})

    def parquet(path: Path) -> Outcome:
        from xstilts.sources.loader import _load_dataset

        return called(_load_dataset, [path])

    made = {
        what: lambda path, make=make: path.write_bytes(make())
        for what, make in PARQUET_FILES.items()
    }
    yield from _of_files("rows", "rows.parquet", parquet, made)

    def pools(path: Path) -> Outcome:
        from xstilts.sources.bucc import read_pools

        paths = [path.parent / f"de-en.sample.{end}" for end in ("de", "en", "gold")]
        paths[0].write_bytes(b"de-1\ta\n")
        paths[1].write_bytes(b"en-1\ta\n")
        return called(read_pools, paths)

    gold = {
        "not UTF-8": _written(b"\xff"),
        "with unknown ids": _written(b"de-9\ten-9\n"),
        "without tabs": _written(b"de-1\n"),
    }
    yield from _of_files("rows", "de-en.sample.gold", pools, {**NO_FILES, **gold})

    def derivations(path: Path) -> Outcome:
        from xstilts.sources.ccgbank import read_derivations

        return called(read_derivations, [path])

    auto = {"not UTF-8": _written(b"(\xff)\n"), "without leaves": _written(b"(<T NP>)\n")}
    yield from _of_files("rows", "wsj_0001.auto", derivations, {**NO_FILES, **auto})


# ---- pictures ----


def _picture(
    format: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, format, **options)
    return out.getvalue()


def _png_of(width: int, height: int) -> bytes:
    """A PNG whose header states a size that its data does not have."""
    data = bytearray(_picture())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _bmp_of(width: int, height: int) -> bytes:
    data = bytearray(_picture("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def _text_bomb() -> bytes:
    """A PNG with a compressed comment of 100 MiB."""
    packer = zlib.compressobj(9)
    text = b"".join([*(packer.compress(b" " * (1 << 20)) for _ in range(100)), packer.flush()])
    chunk = b"zTXt" + b"Comment\0\0" + text
    data = _picture()
    return (
        data[:33]
        + struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + data[33:]
    )


PICTURES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"a picture of a cat",
    "a web page": lambda: b"<!doctype html><title>404</title>",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": lambda: b"%PDF-1.4\n%%EOF",
    "PostScript (EPS)": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "Photoshop (PSD)": lambda: b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 10, 10, 8, 3) + b"\0" * 60,
    "an icon (ICO)": lambda: _picture("ICO"),
    "PPM": lambda: _picture("PPM"),
    "TGA": lambda: _picture("TGA"),
    "PCX": lambda: _picture("PCX"),
    "JPEG 2000": lambda: _picture("JPEG2000"),
    "DDS": lambda: _picture("DDS"),
    "a zip archive": lambda: b"PK\3\4" + b"\0" * 60,
    "a truncated PNG": lambda: _picture(size=(300, 300))[:120],
    "a truncated JPEG": lambda: _picture("JPEG", size=(300, 300))[:400],
    "a truncated WebP": lambda: _picture("WEBP", size=(300, 300))[:60],
    "a truncated GIF": lambda: _picture("GIF", size=(300, 300))[:60],
    "a truncated BMP": lambda: _picture("BMP")[:200],
    "a truncated TIFF": lambda: _picture("TIFF")[:100],
    "only the header of a PNG": lambda: _picture()[:33],
    "a PNG with a wrong checksum": lambda: _picture()[:45] + b"\xff\xff" + _picture()[47:],
    "a PNG of no pixels": lambda: _png_of(0, 0),
    "a PNG of 2 billion by 2 billion pixels": lambda: _png_of(2**31 - 1, 2**31 - 1),
    "a PNG of 100 megapixels": lambda: _png_of(10_000, 10_000),
    "a BMP of 900 megapixels": lambda: _bmp_of(30_000, 30_000),
    "a GIF of 4 gigapixels": lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0" + _picture("GIF")[13:],
    "one pixel high and 201 wide": lambda: _picture(size=(201, 1)),
    "one pixel wide and 5000 high": lambda: _picture(size=(1, 5000)),
    "grey of 32 bits without a range": lambda: _tiff_of_floats(),
    "a PNG with a compressed comment of 100 MiB": _text_bomb,
    "a JPEG whose orientation is not readable": lambda: _picture("JPEG")[:2] + b"\xff\xe1\0\x10Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xd9",
}  # fmt: skip


def _tiff_of_floats() -> bytes:
    out = io.BytesIO()
    Image.new("F", (20, 20), -5000.0).save(out, "TIFF")
    return out.getvalue()


def pictures() -> Iterator[Case]:
    for what, make in PICTURES.items():

        def run(folder: Path, make: Callable[[], bytes] = make) -> Outcome:
            """A bad row: a step tolerates a few."""
            from xstilts.tasks.pictures import check_picture

            try:
                check_picture(make())
            except ValueError as error:
                return 2, f"row 0: {error}"
            return 0, ""

        yield "picture", what, run


# ---- documents of a store, reports ----

#: One document for each kind of key.
STORE_KEYS = (
    "steps/score/F/manifest.json", "runs/r/expanded.json", "runs/r/run.json", "runs/r/leases/l.json",
    "schedules/s/schedule.json", "work/F/a/u/state.json",
)  # fmt: skip


def store_documents() -> Iterator[Case]:
    from xstilts.store.documents import parse

    for key in STORE_KEYS:
        # All kinds are parsed alike: what only one reader does is tried on one of them.
        bad = (
            NO_JSON
            if key == STORE_KEYS[0]
            else {what: NO_JSON[what] for what in ("null", "a list", "truncated", "deep lists")}
        )
        for what, data in {**bad, "{}": b"{}"}.items():

            def run(folder: Path, key: str = key, data: bytes = data) -> Outcome:
                return called(parse, key, data, f"s3://bucket/store/{key}")

            yield "store", f"{key} is {what}", run


def reports() -> Iterator[Case]:
    def export(path: Path) -> Outcome:
        (path.parent / "predictions").mkdir()
        return cli("export", path.parent, path.parent / "out")

    bad = {
        what: _written(NO_JSON[what])
        for what in ("empty", "truncated", "a list", "null", "deep lists", "NaN")
    }
    not_files = {what: NO_FILES[what] for what in ("a folder", "a FIFO", "a device")}
    forms = {
        "with forms that are text": _written(b'{"forms": "a"}'),
        "with forms without keys": _written(b'{"forms": [{}]}'),
    }
    yield from _of_files("report", "summary.json", export, {**bad, **not_files, **forms})
    yield from _of_files("report", "report", lambda path: cli("export", path, path.parent / "out"), {
        "missing": lambda path: None, "a file": _written(b"a"), "an empty folder": lambda path: path.mkdir(),
    })  # fmt: skip

    def table(path: Path) -> Outcome:
        return cli("export", path.parents[1], path.parents[1] / "out")

    made: dict[str, Make] = {
        what: lambda path, make=make: path.write_bytes(make())
        for what, make in PARQUET_FILES.items()
    }
    yield from _of_files(
        "report",
        "predictions/udpos.parquet",
        table,
        {**made, "another table": lambda path: path.write_bytes(_parquet())},
    )


CASES: list[Case] = [
    case
    for area in (
        plans,
        task_files,
        settings,
        schedules,
        submissions,
        mirrors,
        rows,
        pictures,
        store_documents,
        reports,
    )
    for case in area()
]


# ---- sound inputs ----


def _sound_submission(folder: Path) -> Outcome:
    path = folder / _submission_file("xquad/test-en.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"q": "an answer"}')
    code, message = cli("validate", folder)  # it has too few answers, and other files are missing
    return code, "\n".join(
        x for x in message.splitlines() if str(path) in x and "1 answer" not in x
    )


def _sound(name: str, data: bytes, use: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
    def run(folder: Path) -> Outcome:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return use(path)

    return run


def _checked(data: bytes) -> Callable[[Path], Outcome]:
    def run(folder: Path) -> Outcome:
        from xstilts.tasks.pictures import check_picture

        check_picture(data)
        return 0, ""

    return run


def sound() -> Iterator[Case]:
    """What a case would be without its fault: it must be accepted."""
    from pipelines.cluster_settings import load_settings
    from xstilts.plan.load import load_plan
    from xstilts.sources.conllu_rows import read_sentences
    from xstilts.sources.json_rows import JsonRows
    from xstilts.sources.loader import _load_dataset
    from xstilts.store.documents import parse

    for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "MPO"):
        yield "picture", format, _checked(_picture(format))
    for mode in ("L", "LA", "P", "RGBA", "I;16", "1"):
        yield "picture", f"PNG in mode {mode}", _checked(_picture("PNG", mode))
    several = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    yield (
        "picture",
        "animated GIF: its first frame",
        _checked(_picture("GIF", save_all=True, append_images=several)),
    )

    def json_rows(path: Path) -> Outcome:
        return called(lambda: list(JsonRows([path])))

    for name, data in {
        "rows.jsonl": LINE * 3, "rows.json": b'[{"text": "a"}]', "rows.jsonl.gz": _gz(LINE), "rows.jsonl.tar.gz": _tar(("a.jsonl", LINE)),
        "with-bom.jsonl": b"\xef\xbb\xbf" + LINE, "escaped.jsonl": b'{"text": "\\ud83d\\ude00"}',
    }.items():  # fmt: skip
        yield "rows", name, _sound(name, data, json_rows)
    conllu = CONLLU.encode() + b"\n"
    yield (
        "rows",
        "CoNLL-U",
        _sound("en_x-ud-test.conllu", conllu, lambda path: called(read_sentences, [path])),
    )
    yield (
        "rows",
        "Parquet",
        _sound("rows.parquet", _parquet(), lambda path: called(_load_dataset, [path])),
    )
    yield "plan", "plan", _sound("plan.yaml", PLAN.encode(), lambda path: called(load_plan, path))
    yield (
        "plan",
        "plan with a byte order mark",
        _sound("p.yaml", b"\xef\xbb\xbf" + PLAN.encode(), lambda path: called(load_plan, path)),
    )
    yield (
        "settings",
        "settings",
        _sound("settings.yaml", b"ttl_days: 3", lambda path: called(load_settings, path)),
    )
    yield (
        "settings",
        "empty settings",
        _sound("settings.yaml", b"", lambda path: called(load_settings, path)),
    )
    yield "submission", "submission", _sound_submission
    yield (
        "mirror",
        "record",
        _sound(
            "org/name/.xstilts.json",
            _record(files={}),
            lambda path: (cli("mirror", "verify", path.parents[2])[0], ""),
        ),
    )
    run = b'{"run": "r", "mirror": "hub", "created": 1.0}'
    yield (
        "store",
        "run.json",
        lambda folder: called(parse, "runs/r/run.json", run, "s3://bucket/store/runs/r/run.json"),
    )


SOUND: list[Case] = list(sound())
