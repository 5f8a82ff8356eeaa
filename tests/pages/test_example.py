"""The example of the documentation as it is started, and in a browser."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import requires
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen
from xmlrpc.client import ProtocolError, ServerProxy

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from selenium.common.exceptions import StaleElementReferenceException

from tests.pages.conftest import sign_in
from tests.programs import ROOT, Program
from tests.support import wait_until
from tests.web.browser import Browser

EXAMPLE = ROOT / "docs" / "examples" / "zope"

#: Whose pages are looked at, how wide the window is, and whether it is dark.
LOOKS = {"desktop": (1280, False), "night": (1280, True), "phone": (390, False)}

#: A picture is no higher.
HIGHEST = 2000


class Command(Program):
    """A program of the example, which is ended as an administrator ends it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        with suppress_output() as log:
            self.process = subprocess.Popen(
                arguments,
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._read = b""

    def finish(self) -> int:
        """Tell it to end; its exit status."""
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def suppress_output() -> Iterator[Any]:
    """Where logs go that nobody reads."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        yield nowhere


@contextmanager
def command(folder: Path, *arguments: str) -> Iterator[Command]:
    """A program of the example, as long as the block."""
    running = Command(folder, *arguments)
    try:
        yield running
    finally:
        running.close()


def copy(folder: Path, **replacements: str) -> Path:
    """The example, in a folder of its own, with other ports."""
    target = folder / "zope"
    shutil.copytree(
        EXAMPLE, target, ignore=shutil.ignore_patterns("var", "__pycache__")
    )
    for conf in target.glob("*.conf"):
        text = conf.read_text(encoding="utf-8")
        for old, new in replacements.items():
            text = text.replace(old.lstrip("_"), new)
        conf.write_text(text, encoding="utf-8")
    return target


def address_in(line: str) -> str:
    """The address that a server tells."""
    said, _, address = line.partition("http://")
    assert said == "The jobs are at "
    return f"http://{address.strip()}"


def client(address: str, user: str = "admin") -> ServerProxy:
    """The service over XML-RPC."""
    return ServerProxy(address.replace("//", f"//{user}:{user}@"), allow_none=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example, started by its one command; the address of its service."""
    folder = copy(tmp_path_factory.mktemp("example"))
    with command(folder, sys.executable, "serve.py", "--port", "0") as server:
        yield address_in(server.line())
        assert server.finish() == 0


@pytest.fixture(scope="module")
def tasks(address: str) -> Iterator[Any]:
    """The service over XML-RPC, with jobs of each kind."""
    with client(address) as server:
        for number in range(25):
            server.add("word count", f"some words <b>and</b> {number}")
        server.add("word count", "W" * 2000)
        server.add("divide", {"M" * 500: "W" * 500})
        server.add("divide", {"a": 1, "b": 0})
        server.add("letter", {"to": "Ann", "text": "Hello!"})
        server.add("echo", "waits", True)
        server.addCronJob("echo", "nightly", {"hour": 3, "minute": [0, 30]})
        server.addCronJob("echo", "often", {"every": 3600})
        running = server.add("report", 200)
        wait_until(lambda: server.count("completed") == 27)
        wait_until(lambda: server.count("error") == 2)
        yield server
        server.cancel(running)


@pytest.fixture
def browser(chrome: Browser) -> Browser:
    """A browser without cookies, whose user is the admin, and which runs no scripts."""
    sign_in(chrome, "admin")
    chrome.scripts(on=False)
    return chrome


def texts(browser: Browser, selector: str) -> list[str]:
    """What elements show; nothing while the page changes."""
    with suppress(StaleElementReferenceException):
        return [found.text for found in browser.all(selector)]
    return []


def see(browser: Browser, selector: str, text: str) -> None:
    """Wait until an element shows a text: a click may return before its answer."""
    wait_until(lambda: any(text in found for found in texts(browser, selector)))


def ids(browser: Browser) -> list[int]:
    """The ids of the jobs that a page shows."""
    return [int(text) for text in texts(browser, "td.id")]


def commands() -> list[str]:
    """What README.rst says to type."""
    text = (EXAMPLE / "README.rst").read_text(encoding="utf-8")
    return re.findall(r"^    ((?:\.venv/bin/|python3|mkdir).*)$", text, re.MULTILINE)


def job_with(browser: Browser, text: str) -> int:
    """The id of the job that the page shows with a text."""
    see(browser, "tbody tr", text)
    rows = zip(ids(browser), texts(browser, "tbody tr"), strict=True)
    return next(jobid for jobid, row in rows if text in row)


def test_the_commands_are_those_of_the_readme() -> None:
    """What is started here is what README.rst says."""
    install = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
    assert commands() == [
        f"{install} && .venv/bin/python serve.py",
        "mkdir -p var && .venv/bin/runzeo -a 127.0.0.1:9100 -f var/Data.fs",
        ".venv/bin/python serve.py zeo-web.conf",
        ".venv/bin/python worker.py zeo-worker.conf",
    ]


def needs(requirement: Requirement, found: set[tuple[str, str]]) -> None:
    """Note what a requirement brings: names of distributions, with extras."""
    for extra in requirement.extras or {""}:
        key = canonicalize_name(requirement.name), extra
        if key not in found:
            found.add(key)
            for text in requires(requirement.name) or ():
                other = Requirement(text)
                if other.marker is None or other.marker.evaluate({"extra": extra}):
                    needs(other, found)


def test_the_requirements_are_complete() -> None:
    """A fresh environment gets this package, and all that the example imports."""
    text = (EXAMPLE / "requirements.txt").read_text(encoding="utf-8")
    own, *others = [line for line in text.splitlines() if not line.startswith("#")]
    # Of this name there is an older package on PyPI.
    assert own == "-e ../../..[zope]"
    assert (EXAMPLE / "../../../pyproject.toml").is_file()
    found: set[tuple[str, str]] = set()
    for line in ("lovely.remotetask[zope]", *others):
        needs(Requirement(line), found)
    code = "".join(path.read_text("utf-8") for path in EXAMPLE.glob("*.py"))
    zcml = "".join(path.read_text("utf-8") for path in EXAMPLE.glob("*.zcml"))
    imported = {
        *re.findall(r'include package="([\w.]+)"', zcml),
        *re.findall(r"^(?:from|import) (zope[\w.]+|waitress)", code, re.MULTILINE),
        "ZEO",
    }
    installed = {name for name, _ in found}
    for name in imported:
        parts = name.split(".")
        prefixes = {".".join(parts[: n + 1]) for n in range(len(parts))}
        assert installed & {*map(canonicalize_name, prefixes)}, name


def test_users(address: str, tasks: Any) -> None:
    """Each user may do what the configuration says."""
    with client(address, "editor") as editor, client(address, "viewer") as viewer:
        assert editor.cancel(10**6) is True
        assert viewer.count("error") == 2
        with pytest.raises(ProtocolError, match="401"):
            viewer.add("echo")
    with ServerProxy(address) as nobody, pytest.raises(ProtocolError, match="401"):
        nobody.count()


@pytest.mark.parametrize("way", ["", "/news", "/news/"])
def test_the_way_in(address: str, way: str) -> None:
    """The root of the server leads to the jobs, where one has to log in."""
    with pytest.raises(HTTPError) as caught:
        urlopen(address.replace("/news/tasks", way), timeout=20)
    with caught.value as answer:
        assert (answer.url, answer.code) == (address, 401)


def test_inputs_are_checked(tasks: Any) -> None:
    """The schema of a task of the example holds over XML-RPC."""
    with pytest.raises(Exception, match="to: ") as caught:
        tasks.add("letter", {"text": "Hello!"})
    assert "Traceback" not in str(caught.value)


def test_list(address: str, tasks: Any, browser: Browser) -> None:
    """One goes through the jobs with links, filters and an id."""
    browser.driver.get(address)
    first = ids(browser)
    assert len(first) == 20
    browser.one("a[rel=next]").click()
    wait_until(lambda: not {*first} & {*ids(browser)})
    browser.one("a[rel=prev]").click()
    wait_until(lambda: ids(browser) == first)
    browser.one(".counts .status-error").click()
    wait_until(lambda: len(ids(browser)) == 2)
    failed = job_with(browser, "division by zero")
    browser.one("input[name=find]").send_keys(str(failed))
    browser.one(".filter input[type=submit]").click()
    see(browser, "pre.traceback", "in divide")
    assert browser.complaints() == []


def test_change(address: str, tasks: Any, browser: Browser) -> None:
    """Jobs are selected and cancelled, and tried again, without any script."""
    jobid = tasks.add("echo", "to be cancelled", True)
    browser.driver.get(f"{address}/jobs.html?status=start+later")
    browser.one(f"input[value='{jobid}']").click()
    browser.one("button[name=CANCEL]").click()
    see(browser, ".message", "1 job was cancelled")
    wait_until(lambda: tasks.getStatus(jobid) == "cancelled")
    browser.driver.get(f"{address}/{jobid}")
    browser.one("input[name=RETRY]").click()
    # The only thread is busy with the report.
    wait_until(lambda: tasks.getStatus(jobid) == "queued")
    assert browser.complaints() == []


def test_cron_job(address: str, tasks: Any, browser: Browser) -> None:
    """A cron job is added with the fields of its task, and changed."""
    browser.driver.get(f"{address}/addcronjob.html")
    browser.one("option[value=letter]").click()
    browser.one("input[name='form.actions.fields']").click()
    see(browser, "label", "Copies")
    browser.one("input[name='taskinput.to']").send_keys("Bob")
    browser.one("textarea[name='taskinput.text']").send_keys("Good night!")
    browser.one("input[name='form.hour']").send_keys("23")
    browser.one("input[name='form.month']").send_keys("*")
    browser.one("input[name='form.actions.add']").click()
    see(browser, ".facts", "in Jan-Dec at 23:00 (UTC)")
    browser.one("a[href$=editjob]").click()
    see(browser, "h1", "when it runs")
    browser.one("input[name='form.month']").clear()
    browser.one("input[name='form.actions.apply']").click()
    see(browser, ".facts", "each day at 23:00 (UTC)")
    browser.one("input[name=CANCEL]").click()
    assert browser.complaints() == []


def test_another_site(
    address: str, tasks: Any, browser: Browser, tmp_path: Path
) -> None:
    """A page of another site can't have the admin's browser change anything."""
    page = tmp_path / "page.html"
    page.write_text(
        f'<form method="post" action="{address}/jobs.html">'
        '<input type="hidden" name="CLEAN_ALL" value="1">'
        '<input type="submit" id="win" value="Win!"></form>',
        encoding="utf-8",
    )
    browser.driver.get(address)  # so that there is a cookie
    before = tasks.count()
    with site(tmp_path) as other:
        browser.driver.get(f"{other}/page.html")
        browser.one("#win").click()
    see(browser, "h1", "Nothing was changed")
    assert tasks.count() == before


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A handler that does not log, and leaves those who say nothing (seconds)."""

    timeout = 0.5

    def log_message(self, *_: Any) -> None:
        """There is nobody to read it."""


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Another site, which shows the files of a folder; its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("look", LOOKS)
def test_looks(
    address: str, tasks: Any, browser: Browser, pictures: Path, look: str
) -> None:
    """Every page fits into the window, on a desk, at night and on a phone."""
    browser.scripts(on=True)
    browser.driver.get(f"{address}/jobs.html?status=cronjob")
    cron = ids(browser)[0]
    browser.driver.get(f"{address}/jobs.html?status=error")
    error = job_with(browser, "division by zero")
    long = job_with(browser, "MMMMM")
    pages = {
        "jobs": "jobs.html",
        "times": "jobs.html?order=-created",
        "errors": "jobs.html?status=error",
        "error": str(error),
        "long": str(long),
        "cronjob": str(cron),
        "edit": f"{cron}/editjob",
        "add": "addcronjob.html?form.task=letter",
        "done": "jobs.html?done=CLEAN_ALL&n=12345&from=0-1",
        "none": "jobs.html?text=nowhere",
    }
    width, dark = LOOKS[look]

    def take(name: str) -> None:
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.look(width, min(browser.height(), HIGHEST), dark=dark)
        browser.picture(pictures / f"zope-{name}-{look}.png")

    for name in pages if look != "night" else ("jobs", "error", "done"):
        browser.look(width, dark=dark)
        browser.driver.get(f"{address}/{pages[name]}")
        take(name)
    browser.driver.get(f"{address}/addcronjob.html")
    browser.one("input[name='form.hour']").send_keys("25")
    browser.one("input[name='form.actions.add']").click()
    see(browser, ".wrong .error", "From 0 to 23, not 25.")
    take("wrong")
    assert browser.complaints() == []


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.zeo
def test_with_a_worker(tmp_path: Path) -> None:
    """With ZEO, pages are served by one process and jobs are run by another."""
    port = free_port()
    folder = copy(tmp_path, _9100=str(port))
    (folder / "var").mkdir()
    runzeo = str(Path(sysconfig.get_path("scripts")) / "runzeo")
    zeo = runzeo, "-a", f"127.0.0.1:{port}", "-f", "var/Data.fs"
    web = sys.executable, "serve.py", "zeo-web.conf", "--port", "0"
    with ExitStack() as stack:
        stack.enter_context(command(folder, *zeo))
        wait_until(lambda: listens(port))
        server = stack.enter_context(command(folder, *web))
        tasks = stack.enter_context(client(address_in(server.line())))
        jobid = tasks.add("word count", "three small words")
        assert tasks.getStatus(jobid) == "queued"
        worker = stack.enter_context(
            command(folder, sys.executable, "worker.py", "zeo-worker.conf")
        )
        wait_until(lambda: tasks.getResult(jobid) == 3)
        assert worker.finish() == 0
        assert server.finish() == 0
