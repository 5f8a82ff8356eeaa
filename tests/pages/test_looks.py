"""Pages with what is hard to lay out fit into any window."""

from __future__ import annotations

from pathlib import Path

import pytest
import transaction

from tests.pages.conftest import PATH, Application, sign_in
from tests.support import fail, register
from tests.web.browser import Browser

LONG = "Longest" * 60


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


@pytest.mark.parametrize("width", [360, 760, 1000, 1280])
def test_no_page_is_too_wide(
    odd: Application, address: str, chrome: Browser, pictures: Path, width: int
) -> None:
    """One never has to scroll sideways, whatever the values are."""
    sign_in(chrome, "manager")
    chrome.scripts(on=True)
    pages = {
        "jobs": "jobs.html",
        "job": "1",
        "lines": "2",
        "cronjob": "3/editjob",
        "gone": "9",
    }
    for name, page in pages.items():
        chrome.look(width)
        chrome.driver.get(f"http://{address}{PATH}/{page}")
        chrome.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert chrome.run("return document.documentElement.scrollWidth") <= width, name
        chrome.look(width, min(chrome.height(), 1500))
        chrome.picture(pictures / f"zope-odd-{name}-{width}.png")
