"""Checks the words of texts that people read: python style/check.py [--python] [--count] [PATH…]

Prints every phrase of phrases.tsv in a text, with file, line and what to write in its place, and
exits with 1 if there are any. Without paths: all Markdown files, and the scripts and manifests of
k8s/; with --python, also docstrings, comments and string literals of the Python packages. Code in
Markdown (blocks and spans) is skipped; so are Python strings without a space, which are names.
A Python line that ends in `# style: data` has text that is data, not a message.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_name("phrases.tsv")
PROSE = ("docs", "k8s", "components", ".github", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PACKAGES = ("xstilts", "components", "pipelines", "images", "requirements", "k8s")
#: Source code quoted in Markdown, and link targets.
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", re.M | re.S)
DATA = "# style: data"


class Phrase(NamedTuple):
    pattern: re.Pattern[str]
    advice: str


class Hit(NamedTuple):
    file: str
    line: int
    text: str
    advice: str


def phrases(table: str) -> list[Phrase]:
    """The rows of phrases.tsv; ValueError for one that is not `expression<tab>advice`."""
    found = []
    for number, line in enumerate(table.splitlines(), 1):
        if line and not line.startswith("#"):
            expression, tab, advice = line.partition("\t")
            if not tab or not advice:
                raise ValueError(f"{TABLE.name}, line {number}: not 'expression<tab>advice'")
            words = expression.replace(" ", r"\s+")
            found.append(Phrase(re.compile(rf"\b(?:{words})(?!\w)", re.I), advice))
    return found


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each text of a file that a person reads."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield 1, CODE.sub(lambda code: re.sub(r"[^\n]", "\0", code[0]), source)
    elif path.suffix == ".py":
        yield from _python(source)
    else:
        yield 1, source


def _python(source: str) -> Iterator[tuple[int, str]]:
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        last_line = lines[(node.end_lineno or node.lineno) - 1]
        if " " in node.value and not last_line.rstrip().endswith(DATA):
            yield node.lineno, node.value


def hits(path: Path, table: list[Phrase]) -> Iterator[Hit]:
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    for first, text in prose(path):
        for phrase in table:
            for match in phrase.pattern.finditer(text):
                line = first + text.count("\n", 0, match.start())
                yield Hit(name, line, " ".join(match[0].split()), phrase.advice)


def files(paths: list[Path], python: bool) -> Iterator[Path]:
    wanted = {".md", ".sh", ".yaml"} | ({".py"} if python else set())
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix in wanted)
        elif path.exists():
            yield path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="store_true", help="check Python sources as well")
    parser.add_argument("--count", action="store_true", help="print only the hits of each package")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    options = parser.parse_args()
    names = (*PROSE, *PACKAGES) if options.python else PROSE
    paths = options.paths or [ROOT / name for name in dict.fromkeys(names)]
    table = phrases(TABLE.read_text(encoding="utf-8"))
    found = sorted({hit for path in files(paths, options.python) for hit in hits(path, table)})
    if options.count:
        for package, count in sorted(Counter(_package(hit.file) for hit in found).items()):
            print(f"{count:5}  {package}")
    else:
        for hit in found:
            print(f"{hit.file}:{hit.line}: '{hit.text}': write {hit.advice}")
    return 1 if found else 0


def _package(file: str) -> str:
    parts = Path(file).parts
    return "/".join(parts[:2]) if parts[0] == "xstilts" and len(parts) > 2 else parts[0]


if __name__ == "__main__":
    sys.exit(main())
