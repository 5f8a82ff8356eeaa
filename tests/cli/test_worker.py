"""``remotetask worker`` as a process: jobs, signals, and who watches over it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

from lovely.remotetask.cli import vitals, workerlog
from lovely.remotetask.cli.notify import Systemd
from lovely.remotetask.cli.stopping import Orders
from lovely.remotetask.retention import Keep
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import COMPLETED, ERROR, PROCESSING, QUEUED
from tests.cli import application
from tests.cli.application import SIGNALS, tasks
from tests.cli.commands import SETUP, Running, done, refused, run, started
from tests.cli.conftest import Within
from tests.stateful.invariants import check
from tests.storages import open_database
from tests.support import wait_until


@pytest.fixture
def ask(server: Any) -> Iterator[Callable[[Callable[[Any], Any]], Any]]:
    """Ask the service, or change it, as another client of the server."""
    db = open_database(server.address)

    def question(work: Callable[[Any], Any]) -> Any:
        with db.transaction() as connection:
            return work(connection.root()["tasks"])

    tasks()
    yield question
    db.close()


@pytest.fixture
def worker(uri: str, tmp_path: Path) -> Callable[..., Any]:
    """Start a worker; it has begun when the block does."""

    @contextmanager
    def start(*args: object, **env: str) -> Iterator[Running]:
        signals = {SIGNALS: str(tmp_path), **env}
        command = ["worker", "-d", uri, *SETUP, *args]
        with started(tmp_path / "log", *command, **signals) as running:
            wait_until(lambda: "is ready" in running.log or running.process.poll())
            assert running.process.poll() is None, running.log
            yield running

    return start


def status_of(ask: Any, jobid: int) -> str:
    status: str = ask(lambda service: service.getStatus(jobid))
    return status


def test_a_worker_runs_jobs(ask: Any, worker: Any, uri: str) -> None:
    """It runs what there is and what comes, logs each job, and ends when told to."""
    with worker("--threads", 2, "--group-finish") as running:
        jobid = ask(lambda service: service.add("echo", "late"))
        failed = ask(lambda service: service.add("fail", "x\ny"))
        wait_until(lambda: status_of(ask, jobid) == COMPLETED)
        wait_until(lambda: status_of(ask, failed) == ERROR)
        [info] = ask(lambda service: service.workers)
        assert (info.pid, info.threads) == (running.process.pid, 2)
        found = json.loads(done("status", "-d", uri, "--json"))
        assert [w["state"] for w in found["workers"]] == ["idle"]
        assert running.end(signal.SIGTERM) == 0, running.log
    lines = running.log.splitlines()
    assert (
        sum(f"job {jobid} of task 'echo' completed in" in line for line in lines) == 1
    )
    [line] = [line for line in lines if f"job {failed} of task 'fail' failed" in line]
    assert line.endswith("failed: RuntimeError: x")
    assert lines[-1].endswith("INFO stopped")
    assert "Traceback" not in running.log
    ask(check)
    assert ask(lambda service: service.workers) == []


def test_several_services(ask: Any, worker: Any, tmp_path: Path) -> None:
    """One process may process several services; it is ready, and ends, with all."""

    def add_other(service: Any) -> int:
        root = service.__parent__
        other = root["other"] = TaskService()
        other.__parent__, other.__name__ = root, "other"
        jobid: int = other.add("wait", "a")
        return jobid

    ask(add_other)
    other = lambda service: service.__parent__["other"]  # noqa: E731
    first = ask(lambda service: service.add("echo", 1))
    services = {"REMOTETASK_SERVICE": "tasks, /other"}
    with worker("--threads", 2, **services) as running:
        wait_until(lambda: status_of(ask, first) == COMPLETED)
        wait_until((tmp_path / "a began").exists)
        wait_until(lambda: "worker of /other in zeo" in running.log)
        assert "worker of /tasks in zeo" in running.log
        found = ask(lambda s: [*s.workers, *other(s).workers])
        assert {(info.pid, info.threads) for info in found} == {
            (running.process.pid, 2)
        }
        running.signal(signal.SIGTERM)
        wait_until(lambda: "stopping: 1 job" in running.log)
        (tmp_path / "a go").touch()
        assert running.end() == 0, running.log
    assert ask(lambda s: other(s).count(COMPLETED)) == 1
    assert ask(lambda s: [*s.workers, *other(s).workers]) == []


def test_a_processing_that_ends(file: Path, within: Within, tmp_path: Path) -> None:
    """It is an exit status of its own, and the others give back what they run."""

    def add(service: Any) -> None:
        other = service.__parent__["other"] = TaskService()
        other.__parent__, other.__name__ = service.__parent__, "other"
        other.processorFactory = application.Idle
        service.add("wait", "a")

    within(add)
    services = ["-s", "/tasks", "-s", "/other", "--stop-timeout", 0]
    signals = {SIGNALS: str(tmp_path)}
    with started(
        tmp_path / "log", "worker", "-d", file, *SETUP, *services, **signals
    ) as running:
        assert running.end() == 3, running.log
    assert "the processing has ended by itself" in running.log
    within(check)
    assert within(lambda service: service.jobs[8].crashes) == 0


def test_watched_by_systemd(worker: Any, tmp_path: Path) -> None:
    """It tells when it is ready, that it lives, and that it stops."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        heard: list[str] = []

        def hear(word: str) -> bool:
            heard.extend(listener.recv(4096).decode().split("\n"))
            return word in heard

        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        health = tmp_path / "health"
        health.write_text("of a worker that was killed")
        with worker("--health-file", health, **env) as running:
            while not hear("READY=1"):
                pass
            while heard.count("WATCHDOG=1") < 3:
                hear("")
            wait_until(health.exists)
            assert health.read_text() == ""
            running.signal(signal.SIGTERM)
            while not hear("STOPPING=1"):
                pass
            assert running.end() == 0
            assert not health.exists()
    assert heard[0] == "READY=1"


def test_a_job_that_runs_may_be_finished(ask: Any, worker: Any, tmp_path: Path) -> None:
    """SIGTERM waits for the job that runs, and begins no other."""
    first = ask(lambda service: service.add("wait", "a"))
    second = ask(lambda service: service.add("wait", "b"))
    with worker("--log-format", "json") as running:
        wait_until((tmp_path / "a began").exists)
        running.signal(signal.SIGTERM)
        wait_until(lambda: "may be finished" in running.log)
        (tmp_path / "a go").touch()
        assert running.end() == 0, running.log
    assert status_of(ask, first) == COMPLETED
    assert status_of(ask, second) == QUEUED
    records = [json.loads(line) for line in running.log.splitlines()]
    [record] = [r for r in records if r.get("jobid") == first]
    assert (record["task"], record["attempt"], record["level"]) == ("wait", 1, "INFO")
    assert record["service"] == "tasks"
    assert "completed in" in record["message"]


@pytest.mark.parametrize(
    ("signals", "status"),
    [([signal.SIGTERM], 1), ([signal.SIGINT, signal.SIGINT], 130)],
    ids=["SIGTERM", "SIGINT twice"],
)
def test_a_job_that_takes_too_long(
    ask: Any, worker: Any, tmp_path: Path, signals: list[int], status: int
) -> None:
    """It goes back to the queue, and is not taken to have crashed.

    So after the time for that, or at once after the second Ctrl-C.
    """
    jobid = ask(lambda service: service.add("wait", "a"))
    patience = 0.5 if status == 1 else 1000
    with worker("--stop-timeout", patience) as running:
        wait_until((tmp_path / "a began").exists)
        wait_until(lambda: status_of(ask, jobid) == PROCESSING)
        for signum in signals:
            running.signal(signum)
            wait_until(lambda: "stopping: 1 job" in running.log)
        assert running.end() == status, running.log
    assert "go back to the queue" in running.log
    assert status_of(ask, jobid) == QUEUED
    assert ask(lambda service: service.jobs[jobid].crashes) == 0
    assert ask(lambda service: service.jobs[jobid].attempt) == 0
    ask(check)


def test_burst(file: Path, within: Within, tmp_path: Path) -> None:
    """With --burst it ends by itself when nothing is due; what waits for a time stays.

    What the service is told to keep, it remembers.
    """
    within(lambda service: [service.add("echo", n) for n in range(20)])
    keep = ["--keep", "completed=7d,1000", "--keep", "error=90m"]
    keep += ["--keep", "cancelled=forever"]
    log = tmp_path / "log"
    command = ["worker", "-d", file, *SETUP, "--burst", *keep]
    with started(log, *command, "--wait-time", 0.1) as running:
        assert running.end() == 0, running.log

    def look(service: Any) -> tuple[int, int, Any]:
        check(service)
        return service.count(QUEUED), service.count(COMPLETED), service.retention

    queued, completed, retention = within(look)
    assert (queued, completed) == (0, 22)
    assert retention == {
        "completed": Keep(age=7 * 86400.0, number=1000),
        "error": Keep(age=5400.0),
    }
    assert log.read_text().count(" completed in ") == 21


@pytest.mark.parametrize(
    "keep", ["completed", "queued=7d", "error=soon", "error=7d,x", "completed=-1"]
)
def test_bad_retention(file: Path, keep: str) -> None:
    """What makes no sense is refused."""
    assert "--keep" in refused("worker", "-d", file, *SETUP, "--keep", keep)


def test_a_processor_that_can_not_be_made(file: Path, within: Within) -> None:
    """A service that is configured badly is told in one line."""
    within(lambda service: setattr(service, "processorArguments", {"nonsense": 1}))
    result = run("worker", "-d", file, *SETUP)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: processorArguments: SimpleProcessor does not take")


def test_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of a task's own has the job; each try of an outage has none."""
    workerlog.set_up("text", "info")
    job = {"service": "tasks", "jobid": 7, "task": "echo", "attempt": 1}
    logging.getLogger("mail").warning("sent", extra=job)
    logging.getLogger("lovely.remotetask").warning("tasks: job 7", extra=job)
    for error in (ClientDisconnected(), POSKeyError(z64)):
        logging.getLogger("ZODB.Connection").error("not loaded", exc_info=error)
    first, second, third, *_ = capsys.readouterr().err.splitlines()
    of_job = "[service=tasks jobid=7 task=echo attempt=1]"
    assert first.endswith(f" WARNING mail: sent {of_job}")
    assert second.endswith(" WARNING tasks: job 7")
    assert third.endswith(" ERROR ZODB.Connection: not loaded")


def test_a_worker_without_tasks(file: Path, tmp_path: Path) -> None:
    """It says so: all that it takes would fail."""
    with started(tmp_path / "log", "worker", "-d", file) as running:
        wait_until(lambda: "no tasks are registered" in running.log)


def test_a_health_file_that_can_not_be(file: Path) -> None:
    """Where its folder is not there, that is told before anything begins."""
    line = refused("worker", "-d", file, *SETUP, "--health-file", "no/health")
    assert line == "Error: --health-file no/health: No such file or directory."


def test_a_health_file_that_goes_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it can't be touched is said once; systemd is told all the same."""
    monkeypatch.setattr(vitals, "PERIOD", 0.01)
    caplog.set_level(logging.INFO)
    idle = SimpleNamespace(state="idle", worker=SimpleNamespace(held=()))
    served, systemd = Mock(), Mock(watchdog=None)
    served.state.return_value = idle
    file = tmp_path / "run" / "health"
    watch = vitals.Vitals([served], systemd, file)
    wait_until(lambda: systemd.alive.call_count > 2)
    assert caplog.text.count("health file can't be touched") == 1
    file.parent.mkdir()
    wait_until(lambda: "well again" in caplog.text)
    watch.stop()
    assert not file.exists()
    systemd.ready.assert_called_once_with()


def test_a_terminal_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP is an order to stop, too, unless it is to be ignored; the rest stays."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Orders() as orders:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not orders.wait(0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Orders() as orders:
            os.kill(os.getpid(), signal.SIGHUP)
            assert orders.wait(10)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_addresses_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket nothing is told; an abstract one has a name of its own."""
    Systemd({}).ready()
    assert Systemd({"WATCHDOG_USEC": "1000"}).watchdog is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0remotetask-test")
        listener.settimeout(10)
        environ = {"NOTIFY_SOCKET": "@remotetask-test", "WATCHDOG_USEC": "2000000"}
        systemd = Systemd(environ)
        systemd.alive("working")
        assert listener.recv(100) == b"WATCHDOG=1\nSTATUS=working"
        assert systemd.watchdog == 2.0
        assert Systemd({**environ, "WATCHDOG_PID": "1"}).watchdog is None
    systemd.stopping()  # nobody listens any more
