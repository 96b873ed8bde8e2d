"""`path:name` in the documentation is a function, class or table in that file, and files that it
names exist.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages, spans

_REFERENCE = re.compile(r"((?:xstilts|pipelines|components|images|tests)/[\w/]+\.py)(?::(\w+))?")
_FOLDERS = (
    "xstilts/",
    "pipelines/",
    "components/",
    "images/",
    "tests/",
    "k8s/",
    "requirements/",
    "style/",
)
#: Files that the reader makes, besides those that a page tells to create.
MADE = {"k8s/guide/site.env", "k8s/overlays/site"}


def made(page: Path) -> set[str]:
    return MADE | set(re.findall(r"[Cc]reate `([^`]+)`", page.read_text(encoding="utf-8")))


REFERENCES = sorted(
    {
        (page, match[1], match[2] or "")
        for page in pages()
        for span in spans(page)
        if (match := _REFERENCE.fullmatch(span)) and match[1] not in made(page)
    }
)
FILES = sorted(
    {
        (page, span.rstrip("/"))
        for page in pages()
        for span in spans(page)
        if span.startswith(_FOLDERS) and re.fullmatch(r"[\w./-]+", span)
        if span.rstrip("/") not in made(page)
    }
)


def defined(file: str) -> set[str]:
    """Names that a module defines at its top level."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_there_are_references_to_check() -> None:
    assert len(REFERENCES) > 30


@pytest.mark.parametrize(("page", "file", "name"), REFERENCES)
def test_a_reference_names_something_that_exists(page: Path, file: str, name: str) -> None:
    assert (ROOT / file).is_file()
    assert not name or name in defined(file)


@pytest.mark.parametrize(("page", "file"), FILES)
def test_a_file_of_the_repository_that_a_page_names_exists(page: Path, file: str) -> None:
    assert (ROOT / file).exists()


def test_every_page_speaks_of_documents_in_the_repository() -> None:
    wrong = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages()
        for link in re.findall(
            r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8")
        )
        if not (page.parent / link).exists()
    ]
    assert wrong == []
