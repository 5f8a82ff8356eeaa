"""Pictures of the dashboard: those that tests look at, and those of the documentation.

``python -m tests.web.pictures`` makes the latter anew, in ``docs/images``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.programs import ROOT, program
from tests.support import wait_until
from tests.web.browser import Browser, chromium

DESKTOP, PHONE = 1280, 390

#: The pages, and where they are in the queue of `tests.web.live`.
PAGES = {
    "overview": "",
    "jobs": "jobs",
    "failed": "jobs?status=error",
    "job-that-failed": "jobs/9930",
    "job-that-runs": "jobs?status=processing&task=reports.render",
    "job-that-comes-back": "schedule",
    "queue": "queue",
    "schedule": "schedule",
    "workers": "workers",
    "confirmation": "bulk?verb=retry&scope=matching&status=error",
    "problem": "jobs/77777",
}

#: The same where there is nothing, where nobody works, and where nothing is found.
#: They are looked at in two ways only.
MORE_PAGES = {
    "empty-overview": "empty/",
    "empty-jobs": "empty/jobs",
    "empty-queue": "empty/queue",
    "empty-schedule": "empty/schedule",
    "empty-workers": "empty/workers",
    "night-overview": "night/",
    "night-jobs": "night/jobs",
    "night-job": "night/jobs/1",
    "night-queue": "night/queue",
    "night-schedule": "night/schedule",
    "no-match": "jobs?text=nothing&task=mail.send",
    "mistake": "jobs?since=yesterday",
    "gone": "gone/",
}

#: Pages that are behind a link of another.
BEHIND = {
    # The last one: workers have others in hand, which have not begun.
    "job-that-runs": "tr:last-child a.job-link",
    "job-that-comes-back": "tr a.job-link",
}


class Look(NamedTuple):
    """How wide a window is, and whether its user likes it dark."""

    width: int
    dark: bool

    def __str__(self) -> str:
        return f"{self.width}-{'dark' if self.dark else 'light'}"


LOOKS = [Look(width, dark) for width in (DESKTOP, PHONE) for dark in (False, True)]

TWO_LOOKS = [look for look in LOOKS if look.dark == (look.width == PHONE)]

#: The pictures of the documentation.  (A traceback would show where they were made.)
SHOWN = {
    "dashboard-overview": ("overview", Look(DESKTOP, dark=False)),
    "dashboard-jobs": ("failed", Look(DESKTOP, dark=False)),
    "dashboard-job": ("job-that-runs", Look(DESKTOP, dark=True)),
    "dashboard-phone": ("overview", Look(PHONE, dark=True)),
}

#: How high they are at most.
HIGHEST = {DESKTOP: 860, PHONE: 760}


def visit(browser: Browser, address: str, page: str, look: Look) -> None:
    """Show a page."""
    browser.look(look.width, dark=look.dark)
    browser.driver.get(address + (PAGES | MORE_PAGES)[page])
    if page in BEHIND:
        # Workers may have just begun.
        (link, *_) = wait_until(lambda: browser.all(BEHIND[page]))
        browser.driver.get(link.get_attribute("href"))


def wait_for_progress(browser: Browser, address: str) -> None:
    """Wait until there is something to be seen of the jobs that run."""
    visit(browser, address, "job-that-runs", SHOWN["dashboard-job"][1])
    script = "return document.querySelector('progress')?.value ?? 0"
    wait_until(lambda: browser.run(script) > 40)


def pictures(browser: Browser, address: str, directory: Path) -> Iterator[Path]:
    """Make the pictures of the documentation."""
    for name, (page, look) in SHOWN.items():
        visit(browser, address, page, look)
        height = min(browser.height(), HIGHEST[look.width])
        browser.look(look.width, height, dark=look.dark)
        path = directory / f"{name}.png"
        browser.picture(path)
        yield path


def main() -> None:
    """Make them."""
    directory = ROOT / "docs" / "images"
    directory.mkdir(exist_ok=True)
    with program("-m", "tests.web.live") as live, chromium() as browser:
        address = live.line(120)
        wait_for_progress(browser, address)
        for path in pictures(browser, address, directory):
            print(path.relative_to(ROOT), path.stat().st_size, file=sys.stderr)


if __name__ == "__main__":
    main()
