"""Pages in headless Chromium.

Needs Chromium (Debian: `apt-get install chromium`; elsewhere `playwright install chromium`).
"""

import time
from pathlib import Path
from typing import Any

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Visit:
    """An open page with its console errors, dialogs and requests."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on(
            "console", lambda m: m.type in ("error", "warning") and self.errors.append(m.text)
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss())
        )
        self.page.goto(file.as_uri())

    def scroll_through(self) -> None:
        """Shows everything, so that every chart is drawn."""
        self.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        charts = self.page.locator(".chart[data-spec]")
        for index in range(charts.count()):
            charts.nth(index).scroll_into_view_if_needed()
        self.wait_for(
            "document.querySelectorAll('.chart[data-spec]').length ==="
            " document.querySelectorAll('.chart[data-drawn]').length"
        )

    def wait_for(self, expression: str) -> None:
        """Waits until an expression is true. The page's policy forbids `wait_for_function`, which
        evaluates text in the page when it polls.
        """
        end = time.monotonic() + 20
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"still false after 20 s: {expression}"
            self.page.wait_for_timeout(50)


def serious(page: Any) -> list[str]:
    """What axe finds that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]
