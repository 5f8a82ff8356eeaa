"""The dashboard in a browser, on a live queue with workers and 10,000 jobs.

Pictures of all pages go to the directory that REMOTETASK_PICTURES names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.programs import program
from tests.support import wait_until
from tests.web.browser import Browser, chromium
from tests.web.live import JOBS
from tests.web.pictures import (
    DESKTOP,
    LOOKS,
    MORE_PAGES,
    PAGES,
    TWO_LOOKS,
    Look,
    visit,
)

#: What checks whether pages can be used by everybody.  It is not shipped: npm has it.
AXE = "axe-core@4.14.1"

#: A picture is no higher.
HIGHEST = 2000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The dashboard of a queue that is being worked on."""
    with program("-m", "tests.web.live") as live:
        yield live.line(100)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """A browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser) -> Iterator[Browser]:
    """The browser, without cookies, and with nothing to complain of."""
    chrome.driver.delete_all_cookies()
    chrome.look(DESKTOP)
    chrome.complaints()
    yield chrome
    chrome.scripts(on=True)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script that finds what somebody can't use."""
    directory = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    assert npm, "npm is not installed: apt-get install npm"
    subprocess.run(
        [npm, "pack", "--silent", AXE],
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (package,) = directory.glob("*.tgz")
    with tarfile.open(package) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    given = os.environ.get("REMOTETASK_PICTURES")
    directory = Path(given) if given else tmp_path_factory.mktemp("pictures")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


FIND_BARRIERS = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then((found) => done(
  found.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html}`))
));
"""


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES])
def test_pages(
    browser: Browser, address: str, axe: str, pictures: Path, page: str
) -> None:
    """Each page can be used by everybody, dark or light, on a desk and on a phone."""
    for look in LOOKS if page in PAGES else TWO_LOOKS:
        visit(browser, address, page, look)
        width = browser.run("return document.documentElement.scrollWidth")
        assert width <= look.width, "it is wider than the window"
        if look in TWO_LOOKS:
            browser.run(axe)
            barriers = browser.driver.execute_async_script(FIND_BARRIERS)
            assert barriers == []
        browser.look(look.width, min(browser.height(), HIGHEST), dark=look.dark)
        browser.picture(pictures / f"{page}-{look}.png")
    complaints = browser.complaints()
    if page in {"problem", "mistake", "gone"}:
        complaints = [text for text in complaints if "status of" not in text]
    assert complaints == []


def test_all_jobs_are_there(browser: Browser, address: str) -> None:
    """The numbers are those of the queue."""
    browser.driver.get(address + "jobs")
    counted = browser.text(".tabs [aria-current]")
    assert int(counted.split()[-1].replace(",", "")) >= JOBS


def test_a_page_keeps_itself_up_to_date(browser: Browser, address: str) -> None:
    """What a job tells of its progress is seen without loading the page again."""
    visit(browser, address, "job-that-runs", Look(DESKTOP, dark=False))
    browser.run("window.here = true")
    first = wait_until(lambda: browser.text(".now .progress"))
    assert "page " in first
    wait_until(lambda: browser.text(".now .progress") not in {first, ""})
    wait_until(lambda: "Running for" in browser.text(".now"))
    assert browser.run("return window.here")
    assert browser.complaints() == []


def test_where_nobody_looks_nothing_is_asked(browser: Browser, address: str) -> None:
    """A page that is hidden rests; shown again, it goes on."""
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    browser.driver.get(address + "queue")
    browser.run(
        "window.due = 0; window.asked = 0;"
        "document.addEventListener('htmx:before:request', () => { due += 1 });"
        "document.addEventListener('htmx:after:request', () => { asked += 1 });"
    )
    browser.run(hide % "true")
    begun = browser.run("return [due, asked]")
    wait_until(lambda: browser.run("return due") >= begun[0] + 3)
    # One may have been on its way.
    assert browser.run("return asked") <= begun[1] + 1
    browser.run(hide % "false")
    now = browser.run("return asked")
    wait_until(lambda: browser.run("return asked") > now)


def test_updates_are_paused(browser: Browser, address: str) -> None:
    """Paused, a page stays as it is, until updates are resumed."""
    browser.driver.get(address + "queue")
    browser.one(".live-switch button").click()
    wait_until(lambda: "paused" in browser.text("footer"))
    assert browser.all("[data-hx-get]") == []
    browser.one(".live-switch button").click()
    wait_until(lambda: browser.all("[data-hx-get]"))
    as_of = browser.text(".as-of time")
    wait_until(lambda: browser.text(".as-of time") != as_of)


def test_a_job_is_cancelled(browser: Browser, address: str) -> None:
    """A running job is cancelled by two clicks; its page shows when it has ended."""
    visit(browser, address, "job-that-runs", Look(DESKTOP, dark=False))
    browser.one(".title .danger").click()
    wait_until(lambda: "Cancel 1 job?" in browser.text())
    browser.one(".confirm button").click()
    wait_until(
        lambda: "Cancelled, or asked to stop if it runs: 1 job." in browser.text()
    )
    wait_until(lambda: "Cancelled" in browser.text(".title"))
    # It is over: nothing is asked any more.
    wait_until(lambda: not browser.all("[data-hx-get]"))


def test_selected_jobs_are_retried(browser: Browser, address: str) -> None:
    """What is selected stays so while the page is kept up to date; it is retried."""
    browser.driver.get(address + "jobs?status=error&text=OBSERVER")
    rows = browser.all("td.select input")
    rows[0].click()
    rows[2].click()
    as_of = browser.text(".as-of time")
    wait_until(lambda: browser.text(".as-of time") != as_of)
    chosen = "return document.querySelectorAll('td.select input:checked').length"
    assert browser.run(chosen) == 2
    browser.one('.bulk button[value="retry"]').click()
    wait_until(lambda: "Retry 2 jobs?" in browser.text())
    browser.one(".confirm button").click()
    wait_until(lambda: "Queued again: 2 jobs." in browser.text())
    assert "status=error&text=OBSERVER" in browser.driver.current_url


def test_what_is_typed_stays(browser: Browser, address: str) -> None:
    """What somebody is typing into a filter stays, and so does where they type."""
    browser.driver.get(address + "jobs?status=error")
    field = browser.one('input[name="text"]')
    field.send_keys("OBSER")
    as_of = browser.text(".as-of time")
    wait_until(lambda: browser.text(".as-of time") != as_of)
    field.send_keys("VER", Keys.ENTER)
    wait_until(lambda: "text=OBSERVER" in browser.driver.current_url)


def test_what_is_open_stays(browser: Browser, address: str) -> None:
    """What somebody has opened stays open while the page is kept up to date."""
    browser.driver.get(address)
    browser.one("#as-table summary").click()
    as_of = browser.text(".as-of time")
    wait_until(lambda: browser.text(".as-of time") != as_of)
    assert "Tried again" in browser.text("#as-table table")


def test_all_on_the_page_are_selected(browser: Browser, address: str) -> None:
    """One box selects them all; it tells if only some are selected."""
    browser.driver.get(address + "jobs?status=completed")
    boxes = browser.all("td.select input")
    browser.one("#select-all").click()
    assert all(box.is_selected() for box in boxes)
    boxes[0].click()
    assert browser.run("return document.getElementById('select-all').indeterminate")


def test_with_the_keyboard(browser: Browser, address: str) -> None:
    """The first key leads past the navigation, and focus is seen."""
    browser.driver.get(address)
    body = browser.one("body")
    body.send_keys(Keys.TAB)
    focused = browser.driver.switch_to.active_element
    assert focused.text == "Skip to the content"
    assert focused.location["y"] >= 0
    focused.send_keys(Keys.ENTER)
    wait_until(lambda: browser.run("return document.activeElement.id") == "content")
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"


def test_without_scripts(browser: Browser, address: str, pictures: Path) -> None:
    """Where no script may run, pages are read and forms are sent all the same."""
    browser.scripts(on=False)
    browser.driver.get(address + "jobs?status=error&text=HERALD")
    assert len(browser.all("tbody tr")) == 10
    browser.all("td.select input")[0].click()
    browser.one('.bulk button[value="retry"]').click()
    wait_until(lambda: "Retry 1 job?" in browser.text())
    browser.one(".confirm button").click()
    wait_until(lambda: "Queued again: 1 job." in browser.text())
    browser.picture(pictures / "without-scripts.png")


def test_what_comes_into_a_page_does_not_run(browser: Browser, address: str) -> None:
    """Should a script ever get into a page, the browser refuses it."""
    browser.driver.get(address)
    browser.run(
        "document.body.insertAdjacentHTML('beforeend',"
        '\'<img src="/static/icon.svg" onload="window.harmed = true">\')'
    )
    refused = wait_until(browser.complaints)
    assert any("Content Security Policy" in text for text in refused)
    assert not browser.run("return window.harmed === true")


def test_a_lost_connection_is_told(browser: Browser, address: str) -> None:
    """If a page can't be kept up to date, it says so, and then that it can."""
    browser.driver.get(address + "queue")

    def offline(yes: bool) -> None:
        browser.command("Network.enable")
        browser.command(
            "Network.emulateNetworkConditions",
            offline=yes,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def shown() -> Any:
        return browser.one(".stale").is_displayed()

    assert not shown()
    offline(yes=True)
    wait_until(shown)
    offline(yes=False)
    wait_until(lambda: not shown())
