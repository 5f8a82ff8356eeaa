"""Pages with what is hard to lay out fit into any window."""

from __future__ import annotations

from pathlib import Path

import pytest
import transaction

from tests.pages.conftest import PATH, Application, sign_in
from tests.support import fail, register
from tests.web import test_browser
from tests.web.browser import Browser

LONG = "Longest" * 60

#: What finds barriers for people: the dashboard is tried with it, too.
axe = test_browser.axe


@pytest.fixture
def odd(app: Application) -> Application:
    """Jobs with long names, long inputs, long errors and long schedules."""
    register(LONG, fail)
    service = app.service
    service.add(LONG, LONG, retry=0)
    service.add("fail", "line\n" * 40, retry=0)
    service.addCronJob("echo", LONG, minute=range(0, 60, 2), hour=range(0, 24, 3))
    transaction.commit()
    app.run()
    app.service.jobs[1].principal = f"users.{LONG}"
    transaction.commit()
    return app


#: Pages, by the names of their pictures.
PAGES = {
    "jobs": "jobs.html",
    "times": "jobs.html?order=-created&all=1",
    "job": "1",
    "lines": "2",
    "cronjob": "3",
    "edit": "3/editjob",
    "add": "addcronjob.html",
    "gone": "9",
}


@pytest.mark.parametrize(
    ("width", "dark"), [(360, True), (760, False), (1000, False), (1280, False)]
)
def test_everybody_can_use_them(  # noqa: PLR0917
    odd: Application,
    address: str,
    chrome: Browser,
    axe: str,
    pictures: Path,
    width: int,
    dark: bool,
) -> None:
    """One never scrolls sideways, can read everything, and needs no mouse."""
    sign_in(chrome, "manager")
    chrome.scripts(on=True)
    for name in PAGES if width in {360, 1280} else ("jobs", "job"):
        chrome.look(width, dark=dark)
        chrome.driver.get(f"http://{address}{PATH}/{PAGES[name]}")
        chrome.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert chrome.run("return document.documentElement.scrollWidth") <= width, name
        if dark or width == 1280:
            chrome.run(axe)
            barriers = chrome.driver.execute_async_script(test_browser.FIND_BARRIERS)
            assert (name, barriers) == (name, [])
        chrome.look(width, min(chrome.height(), 1500), dark=dark)
        chrome.picture(pictures / f"zope-odd-{name}-{width}.png")
