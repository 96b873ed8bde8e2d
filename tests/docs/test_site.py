"""The documentation builds as a site without a warning, and loads nothing from other servers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("mkdocs", reason="make test installs requirements/docs.txt")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    return folder


@pytest.mark.slow
def test_every_page_is_in_the_site(site: Path) -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert {page.stem for page in site.glob("*.html")} - {"404"} == pages


@pytest.mark.slow
def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(https?:[^\"]+)|<link[^>]*href=\"(https?:[^\"]+)"
    )
    found = {match[0] for page in site.glob("*.html") for match in loads.finditer(page.read_text())}
    assert found == set()


@pytest.mark.slow
def test_contributing_is_the_file_of_the_repository(site: Path) -> None:
    assert "Results must not change" in (site / "contributing.html").read_text()
