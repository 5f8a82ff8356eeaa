"""What other packages add, found by entry points."""

from __future__ import annotations

import importlib
import logging
import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from lovely.remotetask import plugins
from lovely.remotetask.errors import NotInstalled

GROUP = "lovely.remotetask.tests"


class Packaging:
    """Entry points as installed packages have them, and how often they are asked."""

    def __init__(self) -> None:
        self.found: list[EntryPoint] = []
        self.asked = 0

    def add(self, name: str, value: str) -> None:
        self.found.append(EntryPoint(name, value, GROUP))

    def __call__(self, *, group: str) -> list[EntryPoint]:
        self.asked += 1
        return [entry for entry in self.found if entry.group == group]


@pytest.fixture
def packaging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Packaging]:
    """Nothing installed, until a test adds it; and a module with plug-ins."""
    plugged = types.ModuleType("plugged")
    vars(plugged).update(one="the first", two="the second")
    monkeypatch.setitem(sys.modules, "plugged", plugged)
    packaging = Packaging()
    monkeypatch.setattr(plugins, "entry_points", packaging)
    plugins._load.cache_clear()
    yield packaging
    plugins._load.cache_clear()


def test_by_name(packaging: Packaging) -> None:
    """All plug-ins of a group are there, in the order of their names."""
    packaging.add("b", "plugged:two")
    packaging.add("a", "plugged:one")
    assert plugins.load(GROUP) == ["the first", "the second"]
    assert plugins.load("lovely.remotetask.others") == []


def test_asked_once(packaging: Packaging) -> None:
    """Packages are looked through once, and nobody spoils what was found."""
    packaging.add("a", "plugged:one")
    plugins.load(GROUP).clear()
    assert plugins.load(GROUP) == ["the first"]
    assert packaging.asked == 1


@pytest.mark.parametrize(
    "value", ["plugged:three", "plugged.three:one", "no_such_module:one", "broken:one"]
)
def test_broken(
    packaging: Packaging,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    """A plug-in that can't be loaded is logged and left out; the others are there."""
    monkeypatch.setattr("sys.meta_path", [Broken(), *sys.meta_path])
    packaging.add("a", value)
    packaging.add("b", "plugged:two")
    assert plugins.load(GROUP) == ["the second"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("lovely.remotetask", "ERROR")
    assert value in record.getMessage()
    assert record.exc_info is not None


class Broken:
    """Finds a module that fails when it is imported, and one that lacks a library."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "broken":
            raise RuntimeError("broken")
        if name == "lacking":
            raise ModuleNotFoundError("No module named 'exotic'", name="exotic")


def test_an_extra_that_is_not_installed(
    packaging: Packaging,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A plug-in whose library is not installed is left out without much ado."""
    monkeypatch.setattr("sys.meta_path", [Broken(), *sys.meta_path])
    caplog.set_level(logging.INFO, "lovely.remotetask")
    packaging.add("a", "lacking:one")
    assert plugins.load(GROUP) == []
    assert caplog.records == []


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("metrics", "prometheus_client", "metrics"),
        ("tracing", "opentelemetry", "otel"),
    ],
)
def test_a_module_whose_library_is_not_installed(
    module: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import says which extra to install."""
    name = f"lovely.remotetask.{module}"
    kept = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, kept)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(NotInstalled, match=rf"\[{extra}\]"):
        importlib.import_module(name)
