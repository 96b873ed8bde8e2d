"""Commands that compare the firings of a schedule: `report` and `schedule history`."""

from pathlib import Path

import pandas as pd
import pytest

from pipelines.cli import main
from tests.pipelines.firings import apply, fire, run_of
from xstilts.runs import firing_history
from xstilts.store.store import Store


def report(store: Store, out: Path, *options: str) -> int:
    return main(["report", run_of(2), "--store", store.uri, "--out", str(out), *options])


@pytest.fixture
def fired(store: Store, tmp_path: Path) -> Store:
    """A schedule whose third firing is worse than the first; the second failed."""
    apply(store)
    for number, share in enumerate((0.7, None, 0.5)):
        fire(store, number, tmp_path, share)
    return store


def test_a_report_is_compared_with_the_firing_before_and_a_regression_is_exit_code_5(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(fired, tmp_path / "out") == 5
    assert f"{run_of(2)} against {run_of(0)}" in capfd.readouterr().out
    changes = pd.read_csv(tmp_path / "out" / "report" / "changes.csv").set_index("arm")
    assert changes["change"].round(6).to_dict() == {"none": 0.0, "x": -20.0}
    assert changes["regression"].to_dict() == {"none": False, "x": True}


def test_a_report_is_compared_with_nothing_on_request_and_in_the_first_firing(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(fired, tmp_path / "out", "--against", "none") == 0
    arguments = ["--store", fired.uri, "--out", str(tmp_path / "first")]
    assert main(["report", run_of(0), *arguments]) == 0
    assert " against " not in capfd.readouterr().out
    assert not list(tmp_path.glob("*/report/changes.csv"))


def test_the_history_has_every_firing_its_report_and_what_changed(
    fired: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "history"
    arguments = ["schedule", "history", "weekly", "--store", fired.uri, "--out", str(out)]
    assert main(arguments) == 0
    page = (out / "history.html").read_text()
    for text in (
        "Firing 2: 2026-01-03 00:00",
        "failed with exit code 3",
        "Changes against firing 0",
        "−20.0</td>",
        '<span class="bad">regression</span>',
    ):
        assert text in page
    for number in (0, 2):
        assert f'href="./{run_of(number)}/report.html"' in page
        assert "<h1>" in (out / run_of(number) / "report.html").read_text()
    # What was compared once is read from the folder.
    monkeypatch.setattr(firing_history, "report_input", None)
    assert main(arguments) == 0
    assert (out / "history.html").read_text() == page
    # Another version and another report are compared again.
    with monkeypatch.context() as patch:
        patch.setattr(firing_history, "__version__", "99")
        with pytest.raises(TypeError, match="not callable"):
            firing_history.write_history(fired, "weekly", out)
    fired.put_json(f"runs/{run_of(0)}/report_inputs.json", {"inputs": "other", "files": {}})
    with pytest.raises(TypeError, match="not callable"):
        firing_history.write_history(fired, "weekly", out)


def test_a_quiet_history_names_the_page_only(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "history"
    arguments = ["--store", fired.uri, "--out", str(out)]
    capfd.readouterr()
    assert main(["schedule", "history", "weekly", "-q", *arguments]) == 0
    assert capfd.readouterr().out == f"history: {out / 'history.html'}\n"


def test_an_unknown_schedule_is_an_error(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", store.uri, "--out", str(tmp_path)]
    assert main(["schedule", "history", "daily", *arguments]) == 2
    assert "schedules/daily: no such schedule" in capfd.readouterr().err
