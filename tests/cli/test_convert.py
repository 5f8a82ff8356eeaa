"""``remotetask convert``, and what others say of a database that needs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ZODB.POSException import ConflictError

from lovely.remotetask.cli import convert
from lovely.remotetask.evolve import Progress
from tests.cli.commands import done, invoke, refused
from tests.old_records import many


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as version 0.5.2 has left it, with 30 jobs."""
    path = tmp_path / "old.fs"
    many(30).write(path)
    return path


def test_others_say_what_to_do(old: Path) -> None:
    """Nothing else can be done with it, and each command says so."""
    for command in (["status"], ["cancel", 1], ["doctor"]):
        assert refused(*command, "-d", old).endswith(
            "convert it: 'remotetask convert'."
        )


def test_convert(old: Path) -> None:
    """Afterwards the service works, with its jobs."""
    output = done("convert", "-d", old, "--yes", "--batch", 7, "--timezone", "UTC")
    assert "converted, 30 jobs" in output
    page = json.loads(done("jobs", "-d", old, "--limit", 100, "--json"))
    assert len(page["jobs"]) == 30
    assert invoke("doctor", "-d", old, "--json").stdout.startswith('{"jobs": 30')
    assert "nothing to do, 30 jobs." in done("convert", "-d", old, "--yes")


def test_it_asks(old: Path) -> None:
    """Without a terminal to ask on, --yes is needed."""
    before = old.read_bytes()
    assert refused("convert", "-d", old).endswith("Confirm it with --yes.")
    assert "Which database?" in refused("convert", "--yes")
    assert old.read_bytes() == before


def test_others_change_it(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another conversion, or the application, may be in the way: that is told."""

    def conflict(*args: object, **options: object) -> None:
        raise ConflictError

    with monkeypatch.context() as patch:
        patch.setattr(convert, "evolve", conflict)
        line = refused("convert", "-d", old, "--yes")
        assert "Another process changes these services all the time" in line
    assert "converted, 30 jobs" in done("convert", "-d", old, "--yes")


def test_an_interruption(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C tells how far it is; another call goes on."""

    def interrupted(show: Any) -> Any:
        def tell(found: Progress) -> None:
            show(found.done, found.total)
            raise KeyboardInterrupt

        return tell

    with monkeypatch.context() as patch:
        patch.setattr(convert, "_shown", interrupted)
        result = invoke("convert", "-d", old, "--yes", "--batch", 10)
    assert (result.exit_code, result.stdout) == (130, "")
    assert re.fullmatch(r"Converting: stopped at \d+ of \d+\.\n", result.stderr)
    assert "converted, 30 jobs" in done("convert", "-d", old, "--yes")


def test_nothing_to_convert(empty: Path) -> None:
    """Where there is no service, that is told."""
    output = done("convert", "-d", empty, "--yes")
    assert output == "There is no task service in this database.\n"


def test_a_zone_that_is_none(old: Path) -> None:
    """A zone that nobody knows is refused, and nothing is changed."""
    before = old.read_bytes()
    line = refused("convert", "-d", old, "--yes", "--timezone", "Nowhere/Land")
    assert "Nowhere/Land" in line
    assert old.read_bytes() == before
