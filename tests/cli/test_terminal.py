"""What is shown on a terminal: ``top``, bars that move, questions, tables."""

from __future__ import annotations

import io
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lovely.remotetask.callers import next_job
from lovely.remotetask.cli.access import Wanted, opened
from lovely.remotetask.cli.database import Where
from lovely.remotetask.cli.output import colour, rich_table
from lovely.remotetask.cli.top import view
from lovely.remotetask.workers import Lease
from tests.cli.application import SIGNALS
from tests.cli.commands import SETUP, done, invoke, on_terminal, refused, started
from tests.cli.conftest import Within
from tests.support import wait_until

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_top(uri: str, tmp_path: Path) -> None:
    """It shows counts, workers, what runs and what failed, until q is pressed."""
    done("add", "-d", uri, *SETUP, "report", '"x"')
    env = {SIGNALS: str(tmp_path)}
    with (
        started(tmp_path / "log", "worker", "-d", uri, *SETUP, **env) as worker,
        on_terminal("top", "-d", uri, "--interval", 0.1) as terminal,
    ):
        wait_until((tmp_path / "x began").exists)
        terminal.read_until(lambda text: "reading [bold]chapter[/bold] 1" in text)
        text = terminal.plain
        assert f"/tasks in {uri}" in text
        assert "25 %" in text
        assert re.search(r"busy +1 +1", text)
        assert "RuntimeError: no [red]luck[/red]" in text
        (tmp_path / "x go").touch()
        terminal.read_until(lambda text: re.search(r"idle +1 +0", text))
        terminal.type("q")
        assert terminal.end() == 0
        assert worker.end(signal.SIGTERM) == 0
    written = terminal.written.decode()
    assert written.index("\x1b[?1049h") < written.rindex("\x1b[?1049l")
    assert written.rindex(SHOW) > written.rindex(HIDE)


def test_top_fits_the_screen(file: Path, within: Within) -> None:
    """As many jobs are shown as there is room for, of each kind some."""

    def fail_more(service: Any) -> None:
        for number in range(30):
            service.add("fail", number)
        service.process()
        for number in range(30):
            service.add("echo", number)
        key = service._workers.register(service, 1, Lease())
        service._workers.claim(service, key, [next_job(service)])

    within(fail_more)
    with opened(Wanted(Where(str(file))), write=False) as access:
        for height, width in ((24, 80), (50, 80), (24, 200)):
            console = Console(file=io.StringIO(), width=width, height=height)
            console.print(view(access, height))
            lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
            assert height - 3 <= len(lines) <= height
            assert sum("RuntimeError" in line for line in lines) > 2
            assert any(line.startswith("Running") for line in lines)


def test_top_of_a_file(file: Path, within: Within) -> None:
    """It sees what another process writes to a file; Ctrl-C ends it."""
    with on_terminal("top", "-d", file, "--interval", 0.1) as terminal:
        terminal.read_until(lambda text: "There" in text or "queued" in text)
        within(lambda service: [service.add("echo") for _ in range(41)])
        terminal.read_until(lambda text: re.search(r"queued +42", text))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0


def test_top_tells_of_trouble(server: Any, uri: str) -> None:
    """When the server is lost it says so, and goes on when it is back."""
    with on_terminal("top", "-d", f"{uri}?wait_timeout=1", "--interval", 0.1) as shown:
        shown.read_until(lambda text: "queued" in text)
        server.kill()
        shown.read_until(lambda text: "is lost: does it run?" in text)
        before = len(shown.plain)
        server.start()
        shown.read_until(lambda text: "completed" in text[before + 500 :])
        shown.type("q")
        assert shown.end() == 0


def test_top_needs_a_terminal(file: Path) -> None:
    """In a pipe it says what to use instead."""
    assert "status --json" in refused("top", "-d", file)


def test_bars_of_what_takes_long(file: Path, within: Within) -> None:
    """A bar shows how far it is, fits the terminal, and is gone at the end."""
    within(lambda service: [service.add("echo", n) for n in range(1500)])
    with on_terminal("doctor", "-d", file, width=70) as terminal:
        assert terminal.end() == 0
    bars = re.findall(r"Looking at jobs [^\r\n]*?([\d,]+)/1507", terminal.plain)
    assert len(set(bars)) > 1
    assert max(map(len, re.split(r"[\r\n]+", terminal.plain))) <= 70
    assert terminal.plain.rstrip().splitlines()[-1].startswith("All is well: looked at")
    piped = invoke("doctor", "-d", file)
    assert re.fullmatch(r"All is well: looked at 1,507 jobs in .*\n", piped.stdout)
    assert piped.stderr == ""


@pytest.mark.parametrize("answer", ["y", "n"])
def test_clean_asks_on_a_terminal(file: Path, within: Within, answer: str) -> None:
    """It says what it would remove, and does so only after a yes."""
    with on_terminal("clean", "-d", file) as terminal:
        terminal.read_until(lambda text: "[y/N]" in text)
        assert "1 completed, 1 cancelled. Remove 2 jobs?" in terminal.plain
        terminal.type(f"{answer}\n")
        assert terminal.end() == (0 if answer == "y" else 1)
    left = within(lambda service: service.count())
    assert left == (5 if answer == "y" else 7)


def test_no_colours_if_none_are_wanted(file: Path) -> None:
    """With NO_COLOR, or on a terminal without any, there are none."""
    assert colour({"TERM": "xterm"})
    assert not colour({"TERM": "xterm", "NO_COLOR": "1"})
    assert not colour({"TERM": "dumb"})
    with on_terminal("status", "-d", file, NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.written.decode()


def test_a_wide_column_is_cut_off() -> None:
    """What is very wide is cut off, so that the rest is shown."""
    console = Console(width=60, file=io.StringIO(), legacy_windows=False)
    rows = [["1", "x" * 200, "error", "y" * 50], ["2", "z", "queued", ""]]
    console.print(rich_table(("id", "task", "status", "why"), rows, {0}))
    first, second, third = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.split() == ["Id", "Task", "Status", "Why"]
    assert re.fullmatch(r" 1  x+…  error   y+… *", second)
    assert re.fullmatch(r" 2  z +  queued *", third)


@pytest.mark.parametrize("command", ["status", "jobs", "tasks", "show"])
def test_tables_fit_the_terminal(file: Path, command: str) -> None:
    """Nothing is wider than the terminal, and colours are used."""
    args = ["2"] if command == "show" else []
    with on_terminal(command, "-d", file, *args, *SETUP, width=60) as terminal:
        assert terminal.end() == 0
    if command in {"jobs", "tasks"}:
        assert max(map(len, terminal.plain.splitlines())) <= 60
        assert "…" in terminal.plain
    assert (
        "\x1b[1m" in terminal.written.decode() or "\x1b[1;" in terminal.written.decode()
    )
