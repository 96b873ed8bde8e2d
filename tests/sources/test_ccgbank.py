"""CCGbank is read from the user's copy only."""

from pathlib import Path

import pytest

from xstilts.errors import DataError
from xstilts.sources import ccgbank
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import Mirror
from xstilts.sources.source_files import missing_reason
from xstilts.tasks.registry import TASKS

AUTO = """ID=wsj_0001.1 PARSER=GOLD NUMPARSE=1
(<T S[dcl] 0 2> (<L NP NNP NNP Vinken NP>) (<L S[dcl]\\NP VBZ VBZ runs (S[dcl]\\NP_1)_2>) (<L . . . . .>) )
"""


def copy(folder: Path) -> Path:
    section = folder / "data" / "AUTO" / "02"
    section.mkdir(parents=True)
    (section / "wsj_0201.auto").write_text(AUTO)
    return folder


def test_leaves_give_tokens_and_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ccgbank.VARIABLE, str(copy(tmp_path)))
    source = TASKS["ccg"].splits["train"]
    assert load_rows(Mirror("hub"), source, "en") == [
        {"tokens": ["Vinken", "runs", "."], "tags": ["NP", "S[dcl]\\NP", "."]}
    ]


def test_without_a_copy_the_reason_names_the_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ccgbank.VARIABLE, raising=False)
    reason = missing_reason(Mirror("hub"), TASKS["ccg"].splits["train"], "en")
    assert reason is not None
    assert "LDC2005T13" in reason


def test_a_copy_without_the_sections_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ccgbank.VARIABLE, str(copy(tmp_path)))
    with pytest.raises(DataError, match="dev sections"):
        ccgbank.auto_files("dev")


def test_the_home_of_an_unknown_user_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ccgbank.VARIABLE, "~nosuchuser/ccgbank")
    with pytest.raises(DataError, match="'~nosuchuser/ccgbank': not a usable path"):
        ccgbank.auto_files("train")
