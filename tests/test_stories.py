"""The stories in ``doctests`` are true."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest
from zope.site.folder import rootFolder

from tests.support import wait_until

STORIES = Path(__file__).parent / "doctests"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def tell(name: str, **names: Any) -> None:
    """Run the examples of a story with some names."""
    report: list[str] = []
    text = (STORIES / name).read_text(encoding="utf-8")
    globs = {"__name__": "__main__", **names}
    test = doctest.DocTestParser().get_doctest(
        text, globs, name, str(STORIES / name), 0
    )
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert result.attempted > 10
    assert not report, "".join(report)


def test_start_later() -> None:
    """Jobs that start later do so in a site without a database."""
    tell("start_later.rst", root=rootFolder())


def test_start_later_in_a_database(db: Any) -> None:
    """The same story holds in a database."""
    root = db.open().root()
    root["Application"] = rootFolder()
    tell("start_later.rst", root=root["Application"])


def test_transactions(db: Any) -> None:
    """Jobs are part of transactions."""
    tell("transactions.rst", db=db, root=db.open().root(), wait_until=wait_until)


def test_every_story_is_told() -> None:
    """There is no story that no test tells."""
    told = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in STORIES.iterdir() if path.name not in told] == []


def test_a_false_story_is_found(tmp_path: Path) -> None:
    """A story that is not true fails."""
    story = tmp_path / "false.rst"
    story.write_text(">>> x = 1\n" * 11 + ">>> x\n2\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="Expected"):
        tell(str(story))
