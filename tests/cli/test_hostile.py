"""What others wrote is shown as text: nothing of it reaches a terminal as a command."""

from __future__ import annotations

import io
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from rich.console import Console
from ZODB.FileStorage import FileStorage
from zope.component import getGlobalSiteManager

from lovely import remotetask
from lovely.remotetask.cli import logs, workerlog
from lovely.remotetask.cli.access import Access, Wanted, opened
from lovely.remotetask.cli.dashboard import tell_ready
from lovely.remotetask.cli.database import Where
from lovely.remotetask.cli.top import view
from lovely.remotetask.interfaces import ITask
from tests.cli.commands import invoke
from tests.support import put_service, register

#: It would set a window's title, clear the screen, colour what follows and turn it.
EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\r\tX"


class Evil:
    """A value that is shown as such a text."""

    def __repr__(self) -> str:
        return EVIL


def fail(input: Any) -> None:
    remotetask.current().progress(0.5, EVIL)
    raise type(EVIL, (Exception,), {})(EVIL)


fail.__doc__ = EVIL


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A database with such names and values everywhere."""
    path = tmp_path / "evil.fs"
    register(EVIL, fail)
    db = ZODB.DB(FileStorage(str(path)))
    service = put_service(db, EVIL)
    service.add(EVIL, Evil())
    service.runNow(service.addCronJob(EVIL, {EVIL: [EVIL]}, every=3600))
    transaction.commit()
    service.process()
    transaction.commit()
    assert service.getStatus(1) == "error"
    register(f"{EVIL} gone", fail)
    service.add(f"{EVIL} gone")
    getGlobalSiteManager().unregisterUtility(provided=ITask, name=f"{EVIL} gone")
    transaction.commit()
    service._p_jar.close()
    db.close()
    return path


def harmless(text: str) -> bool:
    """Whether there are only characters that are shown, and ends of lines."""
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["jobs"],
        ["show", 1],
        ["show", 1, "--json"],
        ["show", 2],
        ["tasks"],
        ["cron", "list"],
        ["doctor"],
        ["add", f"{EVIL}2"],
        ["status", "-s", EVIL + "2"],
        ["--debug", "tasks", "--setup", EVIL],
    ],
    ids=lambda command: " ".join(map(str, command)).replace(EVIL, "EVIL"),
)
def test_commands(evil: Path, command: list[Any]) -> None:
    """No command lets any of it through, in its errors neither."""
    result = invoke(*command, "-d", evil)
    assert "evil" in result.output
    assert harmless(result.output), repr(result.output)


def test_top(evil: Path) -> None:
    """Nor does what is drawn on a terminal."""
    with opened(Wanted(Where(str(evil))), write=False) as access:
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        console.print(view(access, 40))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert "evil" in shown
    assert harmless(shown), repr(shown)


def test_top_of_what_can_not_be_read(
    evil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what is told of trouble there."""

    def broken(self: Access) -> Any:
        raise RuntimeError(EVIL)

    monkeypatch.setattr(Access, "read", broken)
    with opened(Wanted(Where(str(evil))), write=False) as access:
        shown = str(view(access, 40))
    assert "RuntimeError" in shown
    assert harmless(shown), repr(shown)


def test_dashboard(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor where the dashboard says what it shows."""
    with opened(Wanted(Where(str(evil))), write=False) as access:
        tell_ready("http://127.0.0.1:1/", access)
    shown = capsys.readouterr().out
    assert "evil" in shown
    assert harmless(shown)


@pytest.fixture(params=[workerlog.Text(), logs.Printable("%(message)s")])
def formatter(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_logs(formatter: logging.Formatter) -> None:
    """Nor do logs, with their tracebacks."""
    try:
        fail_simply()
    except ValueError:
        raised = sys.exc_info()
    record = logging.LogRecord(EVIL, 20, "x", 1, "%s", (EVIL,), raised)
    shown = formatter.format(record)
    assert shown.count("evil") >= 2
    assert harmless(shown), repr(shown)


def fail_simply() -> None:
    raise ValueError(EVIL)
