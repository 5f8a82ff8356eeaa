"""What comes from outside: time, chance and processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from lovely.remotetask import environment as module
from lovely.remotetask.environment import Environment
from tests.support import FakeEnvironment


def test_stamps_ascend() -> None:
    """Each stamp is later than the last, even if the clock stands or goes back."""
    environment = FakeEnvironment(100.0)
    stamps = [environment.stamp() for _ in range(3)]
    environment.now = 50.0
    stamps.append(environment.stamp())
    environment.now = 200.0
    stamps.append(environment.stamp())
    assert stamps == [100_000_000, 100_000_001, 100_000_002, 100_000_003, 200_000_000]


def test_stamps_follow_a_clock_that_is_set_back() -> None:
    """A clock that is set back by more than minutes is followed."""
    environment = FakeEnvironment(10_000.0)
    environment.stamp()
    environment.now = 9_000.0
    assert [environment.stamp() for _ in range(2)] == [9_000_000_000, 9_000_000_001]


def test_real_clock_and_chance() -> None:
    """The real environment asks the system."""
    environment = Environment()
    assert environment.time() > 1.7e9
    assert environment.monotonic() <= environment.monotonic()
    assert 0 <= environment.random() < 1
    assert environment.sleep(0) is None


def test_process_names() -> None:
    """A process has a name with its number, and lives."""
    environment = Environment()
    name = environment.process()
    assert name == environment.process()
    assert name.split("/")[1] == str(os.getpid())
    assert not environment.is_gone(name)
    assert not environment.is_gone(f"{name}/7-more")


def test_process_that_is_gone() -> None:
    """A process of this host that has ended is gone."""
    code = (
        "from lovely.remotetask.environment import Environment\n"
        "print(Environment().process())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert Environment().is_gone(run.stdout.strip())


def test_number_that_is_used_again() -> None:
    """Another process that has got the number is not the same."""
    host, pid, start = Environment().process().split("/")
    assert Environment().is_gone(f"{host}/{pid}/{start}1")


def test_other_hosts() -> None:
    """Of another host nothing is known, so its processes are not gone."""
    assert not Environment().is_gone("elsewhere/1/1")


def test_foreign_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may not be asked lives."""

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not Environment().is_gone(Environment().process())


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, host and number have to do."""
    monkeypatch.setattr(module, "Path", lambda path: __import__("pathlib").Path("/nil"))
    module._host.cache_clear()
    try:
        name = Environment().process()
        assert name == f"{socket.gethostname()}/{os.getpid()}/"
        assert not Environment().is_gone(name)
    finally:
        module._host.cache_clear()
