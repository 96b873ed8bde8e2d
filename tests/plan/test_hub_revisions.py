"""What `xstilts plan` says of data sets that hub.lock does not verify."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from xstilts.plan import hub_revisions
from xstilts.plan.expansion import Expansion
from xstilts.plan.hub_revisions import unverified_sources
from xstilts.plan.show import overview, render

COMMIT = "a" * 40
IDENTITIES = [
    {"identity": {"hub": "org/verified", "revision": COMMIT}},
    {"identity": {"hub": "org/unseen", "revision": COMMIT}},
    {"identity": {"digest": "of a folder"}},
    {
        "identity": {
            "hub": "org/verified",
            "revision": COMMIT,
            "with": [{"hub": "org/absent", "revision": COMMIT}],
        }
    },
]


@pytest.fixture(autouse=True)
def lock(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"org/verified": {"verified": True}, "org/unseen": {"verified": False}}
    monkeypatch.setattr(hub_revisions, "hub_lock", lambda: entries)


def test_a_data_set_without_a_verified_entry_is_named_once() -> None:
    assert unverified_sources([*IDENTITIES, *IDENTITIES]) == ["org/absent", "org/unseen"]


def test_the_overview_names_them(expanded: Callable[..., Expansion]) -> None:
    view = overview(replace(expanded(), identities=IDENTITIES))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view))
    assert "not verified in hub.lock, newest commit used: org/absent, org/unseen" in (
        console.export_text()
    )


def test_nothing_is_said_when_no_source_comes_from_the_hub(
    expanded: Callable[..., Expansion],
) -> None:
    view = overview(replace(expanded(), identities=[IDENTITIES[2]]))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view))
    assert "hub.lock" not in console.export_text()
