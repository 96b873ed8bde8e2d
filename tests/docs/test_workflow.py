"""The files that a code host reads: the workflow, the templates, the citation."""

import re

import pytest
import yaml

from tests.docs.pages import ROOT
from xstilts import __version__

GITHUB = ROOT / ".github"


def commands(workflow: str) -> dict[str, list[str]]:
    """Job → its commands."""
    jobs = yaml.safe_load((GITHUB / "workflows" / f"{workflow}.yml").read_text())["jobs"]
    return {
        name: [step["run"].split("#")[0].strip() for step in job["steps"] if "run" in step]
        for name, job in jobs.items()
    }


def test_the_workflow_runs_lint_docs_tests_the_demo_and_an_audit_of_all_packages() -> None:
    audit = "pip-audit --disable-pip --require-hashes --requirement requirements"
    assert commands("ci") == {
        "lint": ["make lint", "make docs"],
        "audit": [
            "pip install pip-audit",
            f"{audit}/cuda.txt",
            f"{audit}/docs.txt",
            "make sbom",
        ],
        "test": ["make test", "make test-e2e", "make test-wheel"],
        "versions": ["make test"],
        "demo": ["make demo", "make demo"],
    }


def test_the_nightly_workflow_fuzzes_with_atheris() -> None:
    assert commands("nightly") == {
        "fuzz": ["make setup", ".venv/bin/pip install atheris", "make fuzz SECONDS=600"]
    }


@pytest.mark.parametrize("workflow", ["ci", "nightly"])
def test_a_workflow_s_actions_are_pinned_to_a_major_version(workflow: str) -> None:
    text = (GITHUB / "workflows" / f"{workflow}.yml").read_text()
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
