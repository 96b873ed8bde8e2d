"""The page in a browser: headless Chromium, with hostile texts in every name.

Needs Chromium (Debian: `apt-get install chromium`; elsewhere `playwright install chromium`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.sample_report import ARM, sample_report
from tests.analysis.visit import PHONE, Visit, serious
from xstilts.analysis.effects import effects_table
from xstilts.analysis.page import view
from xstilts.analysis.report_page import page
from xstilts.analysis.scores import results_table
from xstilts.analysis.summary import summarize


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = sample_report()
    results, effects = results_table(report), effects_table(report)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(report, results, effects, summarize(report, results, effects)))
    return path


@pytest.fixture(scope="module")
def visit(browser: Any, file: Path) -> Iterator[Visit]:
    visit = Visit(browser, file)
    yield visit
    visit.context.close()


def test_every_chart_is_drawn_without_error_request_or_dialog(visit: Visit, file: Path) -> None:
    visit.scroll_through()
    assert visit.page.locator(".chart[data-drawn] svg").count() > 4
    assert (visit.errors, visit.dialogs, visit.requests) == ([], [], [file.as_uri()])


def test_hostile_texts_add_no_element(visit: Visit) -> None:
    assert visit.page.locator("img").count() == 0
    assert visit.page.locator("h1").inner_text().startswith("Study of <img src=x")


def test_a_filter_by_backbone_and_evaluation_hides_the_others(visit: Visit) -> None:
    visit.page.select_option("[name=backbone]", "llava")
    visit.page.select_option("[name=evaluation]", "udpos")
    shown = visit.page.locator(".heat td.e:visible")
    assert set(shown.evaluate_all("cells => cells.map(c => c.dataset.e)")) == {"udpos"}
    assert visit.page.locator(".heatmap:visible").count() == 1
    visit.page.click("#filters [type=reset]")
    visit.wait_for("document.querySelectorAll('.heatmap:not([hidden])').length === 2")


def test_a_filter_by_language_shows_the_mean_over_these_languages(visit: Visit) -> None:
    first = visit.page.locator(".heat td.e a").first
    before = first.inner_text()
    visit.page.select_option("[name=seen]", "0")  # Yoruba
    assert "1 language" in first.inner_text()
    effect = visit.page.locator(".heat td.e").first.get_attribute("data-effect")
    expected = visit.page.evaluate(
        "(() => { const data = JSON.parse(document.getElementById('explorer').textContent);"
        "return data.cells[0].accuracy[4][data.languages.xnli.indexOf('yo')]; })()"
    )
    assert float(effect) == pytest.approx(expected)
    visit.page.click("#filters [type=reset]")
    visit.wait_for(f"document.querySelector('.heat td.e a').innerText === {json.dumps(before)}")


def test_a_click_on_a_heading_sorts_by_effect(visit: Visit) -> None:
    table = visit.page.locator(".heat").first
    table.locator("thead th button").nth(1).click()
    column = table.locator("tbody tr > :nth-child(2)")
    effects = [float(x) for x in column.evaluate_all("cells => cells.map(c => c.dataset.effect)")]
    assert effects == sorted(effects, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_a_number_opens_its_languages_seeds_examples_and_steps(visit: Visit) -> None:
    link = visit.page.locator(".heat td.e a").first
    link.focus()
    visit.page.keyboard.press("Enter")
    dialog = visit.page.locator("dialog[open]")
    text = dialog.inner_text()
    for part in ("Swahili", "seed 2", "gold", "score/", "Minimum detectable effect"):
        assert part in text
    visit.page.keyboard.press("Escape")
    assert visit.page.locator("dialog[open]").count() == 0


def test_without_javascript_the_page_has_charts_and_what_is_behind_each_number(
    browser: Any, file: Path
) -> None:
    visit = Visit(browser, file, java_script_enabled=False)
    assert visit.page.locator(".chart svg").count() > 4
    assert not visit.page.locator("#filters").is_visible()
    visit.page.locator(".heat td.e a").first.click()
    assert visit.page.locator("#cell-0").is_visible()
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_without_sideways_scroll(
    browser: Any, file: Path, scheme: str
) -> None:
    visit = Visit(browser, file, viewport=PHONE, color_scheme=scheme)
    visit.scroll_through()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, file: Path, scheme: str) -> None:
    visit = Visit(browser, file, color_scheme=scheme)
    visit.scroll_through()
    assert serious(visit.page) == []
    visit.context.close()


def test_print_keeps_colors_and_opens_details(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.locator("details:not([open])").count() == 0
    assert visit.page.evaluate("getComputedStyle(document.body).printColorAdjust") == "exact"
    assert not visit.page.locator("#filters").is_visible()
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert visit.page.locator("details:not([open])").count() > 0
    visit.context.close()


def test_no_table_is_cut_on_paper(browser: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Paper is 190 mm wide. Tables of scores with many languages become lines of text."""
    monkeypatch.setattr(view, "WIDE", 3)
    report = sample_report(range(2))
    results, effects = results_table(report), effects_table(report)
    path = tmp_path / "report.html"
    path.write_text(page(report, results, effects, summarize(report, results, effects)))
    visit = Visit(browser, path, viewport={"width": 718, "height": 900})
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 718
    clipped = visit.page.locator("main *").evaluate_all(
        "nodes => nodes.filter(n => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(n).overflowX)"
        " && !n.closest('svg, dialog')).map(n => n.className)"
    )
    assert clipped == []
    place = visit.page.locator("#scores-1 thead th").all_text_contents().index("sw")
    cell = visit.page.locator("#scores-1 tbody td").nth(place)
    assert cell.evaluate("node => getComputedStyle(node, '::before').content") == '"sw "'
    visit.context.close()


def test_forgetting_and_the_images_of_the_run_are_shown(visit: Visit) -> None:
    table = visit.page.get_by_role("region", name="Forgetting")
    assert "60.0\t48.0\t−12.0 ± 1.2\t3" in table.inner_text()
    assert "registry/plan@sha256:" in visit.page.locator("#provenance + dl").inner_text()


def test_the_arm_with_the_hostile_name_is_a_line_of_the_table(visit: Visit) -> None:
    names = visit.page.locator(".heat th[scope=row]").all_inner_texts()
    assert ARM in names
