"""The files that a code host reads: the workflow, the templates, the citation."""

import re

import pytest
import yaml

from tests.docs.pages import ROOT
from xstilts import __version__

GITHUB = ROOT / ".github"


def test_the_workflow_runs_lint_docs_tests_and_the_demo() -> None:
    jobs = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())["jobs"]
    run = [
        step["run"].split("#")[0].strip()
        for job in jobs.values()
        for step in job["steps"]
        if "run" in step
    ]
    assert run == ["make lint", "make docs", "make test", "make test-e2e", "make demo", "make demo"]


def test_a_workflow_s_actions_are_pinned_to_a_major_version() -> None:
    text = (GITHUB / "workflows" / "ci.yml").read_text()
    actions = re.findall(r"uses: (\S+)", text)
    assert actions
    assert [action for action in actions if not re.fullmatch(r"actions/[a-z-]+@v\d+", action)] == []


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_an_issue_form_has_a_name_and_fields_with_ids(form: str) -> None:
    body = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())
    assert {"name", "description", "body"} <= set(body)
    assert all(field["id"] and field["attributes"]["label"] for field in body["body"])


def test_the_citation_has_the_version_and_license_of_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert "doi" not in citation


def test_the_changelog_has_an_unreleased_section_first() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "[Unreleased]"
