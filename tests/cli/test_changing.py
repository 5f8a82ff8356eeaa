"""The commands that change jobs: add, start, cancel, retry, clean, and cron."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lovely.remotetask.cli import clean, verbs
from lovely.remotetask.cli.access import Access, Wanted, opened
from lovely.remotetask.cli.database import Where
from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    QUEUED,
    STARTLATER,
)
from tests.cli.commands import SETUP, done, invoke, refused, run
from tests.cli.conftest import Within
from tests.stateful.invariants import check
from tests.storages import ZeoServer


@pytest.fixture
def statuses(within: Within) -> Callable[[], dict[int, str]]:
    """The statuses of all jobs by id; and all is sound."""

    def look(service: Any) -> dict[int, str]:
        check(service)
        return {jobid: job.status for jobid, job in service.jobs.items()}

    return lambda: within(look)


Statuses = Callable[[], dict[int, str]]

#: As the fixture leaves them.
BEFORE = {
    1: COMPLETED,
    2: ERROR,
    3: QUEUED,
    4: STARTLATER,
    5: DELAYED,
    6: CRONJOB,
    7: CANCELLED,
}


def test_add(file: Path, within: Within) -> None:
    """It prints the id; the input is JSON."""
    assert done("add", "-d", file, *SETUP, "echo", '{"a": [1, null]}') == "8\n"
    assert within(lambda service: service.jobs[8].input) == {"a": [1, None]}
    assert done("add", "-d", file, *SETUP, "echo") == "9\n"
    assert within(lambda service: service.jobs[9].input) is None


def test_add_from_standard_input(file: Path, within: Within) -> None:
    """The input may be long, or secret."""
    assert done("add", "-d", file, *SETUP, "echo", "-", input='"text"') == "8\n"
    assert within(lambda service: service.jobs[8].input) == "text"


def test_add_options(file: Path, within: Within, statuses: Statuses) -> None:
    """Later, at a time, with retries and a time limit."""
    done("add", "-d", file, *SETUP, "echo", "--later")
    done("add", "-d", file, *SETUP, "echo", "--delay", 60)
    done("add", "-d", file, *SETUP, "echo", "--at", "2999-01-01T00:00Z")
    done("add", "-d", file, *SETUP, "echo", "--retry", 3, "--timeout", 1.5)
    found = statuses()
    assert [found[i] for i in range(8, 12)] == [STARTLATER, DELAYED, DELAYED, QUEUED]
    timeout, due = within(lambda s: (s.jobs[11].timeout, s.jobs[10].scheduledFor))
    assert (timeout, due.isoformat()) == (1.5, "2999-01-01T00:00:00+00:00")
    line = refused("add", "-d", file, *SETUP, "echo", "--later", "--delay", 1)
    assert line == "Error: Only one of startLater, delay and at can be given."


def test_add_a_task_that_is_not_registered_here(file: Path, statuses: Statuses) -> None:
    """It is refused, and told which are and what to do."""
    line = refused("add", "-d", file, *SETUP, "nope")
    assert "'nope' is not registered here (known: echo, fail," in line
    assert "--setup or --zcml" in line
    assert statuses() == BEFORE


@pytest.mark.parametrize("text", ["text", "{", "[1,]", "NaN", "[-Infinity]"])
def test_add_what_is_no_json(file: Path, text: str) -> None:
    """An input that is no JSON is refused."""
    assert "is no JSON" in refused("add", "-d", file, *SETUP, "echo", text)


def test_start(file: Path, statuses: Statuses) -> None:
    """What waits for it is queued."""
    assert done("start", "-d", file, 4) == "Job 4: started.\n"
    assert statuses() == BEFORE | {4: QUEUED}


def test_cancel(file: Path, statuses: Statuses) -> None:
    """Whatever has not begun is cancelled."""
    done("cancel", "-d", file, 3, 4, 5, 6)
    assert statuses() == BEFORE | dict.fromkeys([3, 4, 5, 6], CANCELLED)


def test_retry(file: Path, statuses: Statuses) -> None:
    """What is in error or cancelled is queued again."""
    done("retry", "-d", file, 2, 7)
    assert statuses() == BEFORE | {2: QUEUED, 7: QUEUED}


@pytest.mark.parametrize(
    ("command", "jobid", "reason"),
    [
        ("start", 3, "Job 3 does not wait for that: it is 'queued'."),
        ("cancel", 1, "Job 1 is over: it is 'completed'."),
        ("retry", 3, "Job 3 is neither in error nor cancelled: it is 'queued'."),
    ],
)
def test_what_can_not_be_done(
    file: Path, statuses: Statuses, command: str, jobid: int, reason: str
) -> None:
    """It is told, with an exit status of 1; the others are done."""
    other = {"start": 4, "cancel": 5, "retry": 2}[command]
    result = invoke(command, "-d", file, jobid, other)
    assert (result.exit_code, result.stderr) == (1, f"{reason}\n")
    assert f"Job {other}: " in result.stdout
    after = statuses()
    assert after[jobid] == BEFORE[jobid]
    assert after[other] != BEFORE[other]


@pytest.mark.parametrize("command", ["start", "cancel", "retry"])
def test_unknown_ids(file: Path, statuses: Statuses, command: str) -> None:
    """Nothing is changed if an id is wrong."""
    assert refused(command, "-d", file, 3, 99) == "Error: There is no job 99."
    line = refused(command, "-d", file, 4, 98, 99)
    assert line == "Error: There are no jobs 98, 99. Nothing was changed."
    assert refused(command, "-d", file).startswith("Error: Which jobs?")
    assert statuses() == BEFORE


def test_retry_all(
    file: Path, within: Within, statuses: Statuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that are in error are queued again, bit by bit, or those of a task."""
    monkeypatch.setattr(verbs, "BATCH", 2)

    def fail_more(service: Any) -> None:
        for number in range(5):
            service.add("fail", number)
        service.process()

    within(fail_more)
    assert done("retry", "-d", file, "--all", "--task", "echo") == (
        "0 jobs queued again.\n"
    )
    assert done("retry", "-d", file, "--all") == "6 jobs queued again.\n"
    assert ERROR not in statuses().values()
    assert refused("retry", "-d", file, "--all", 3).startswith("Error: Which jobs?")
    assert "--task goes with --all" in refused("retry", "-d", file, "--task", "x", 2)


@pytest.mark.parametrize("command", [["retry", "--all"], ["clean", "-y"]])
def test_an_interruption(
    file: Path,
    within: Within,
    statuses: Statuses,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    """What has been done is kept, and all is sound; another call does the rest."""
    monkeypatch.setattr(verbs, "BATCH", 2)
    monkeypatch.setattr(clean, "BATCH", 2)
    monkeypatch.setattr(clean, "LOOK_AT", 10)

    def add(service: Any) -> None:
        for number in range(4):
            service.add("fail", number)
            service.add("echo", number)
        service.process()

    within(add)
    write, calls = Access.write, []

    def interrupted(self: Access, work: Any) -> Any:
        calls.append(work)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, work)

    with monkeypatch.context() as patch:
        patch.setattr(Access, "write", interrupted)
        result = invoke(*command, "-d", file)
    assert (result.exit_code, result.stdout) == (130, "")
    assert re.fullmatch(r"[\w ]+: stopped at 2 of \d\.\n", result.stderr)
    before = statuses()
    assert sum(status in {ERROR, COMPLETED, CANCELLED} for status in before.values())
    done(*command, "-d", file)
    after = statuses().values()
    assert ERROR not in after if command[0] == "retry" else COMPLETED not in after


@pytest.mark.parametrize("command", ["retry", "clean"])
def test_two_at_once(
    server: ZeoServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Two that do the same at a time share it: nothing is done twice, or left."""
    monkeypatch.setattr(verbs, "BATCH", 2)
    monkeypatch.setattr(clean, "BATCH", 2)
    wanted = Wanted(Where(f"zeo://127.0.0.1:{server.port}"))
    barrier, counts = threading.Barrier(2), []

    def work(access: Access) -> None:
        barrier.wait()
        if command == "retry":
            counts.append(verbs._retry_all(access, None))
        else:
            counts.append(clean._remove(access, {ERROR}, 21))

    with (
        opened(wanted, write=True, tasks=False) as one,
        opened(wanted, write=True, tasks=False) as other,
    ):
        one.write(lambda service: [service.add("fail", n) for n in range(20)])
        one.write(lambda service: service.process())
        threads = [threading.Thread(target=work, args=[each]) for each in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with one.read() as service:
            check(service)
            assert service.count(ERROR) == 0
    assert sum(counts) == 21


def test_clean_asks(file: Path, statuses: Statuses) -> None:
    """Without a terminal to ask on, --yes is needed."""
    line = refused("clean", "-d", file)
    assert line == "Error: This would remove 2 jobs. Confirm it with --yes."
    assert statuses() == BEFORE


def test_clean(file: Path, statuses: Statuses) -> None:
    """Completed and cancelled jobs are removed, others if asked for."""
    assert done("clean", "-d", file, "--yes") == "2 jobs removed.\n"
    assert set(statuses()) == {2, 3, 4, 5, 6}
    assert done("clean", "-d", file, "-y", "--status", "error") == "1 job removed.\n"
    assert set(statuses()) == {3, 4, 5, 6}
    output = done("clean", "-d", file, "-y", "--status", "error")
    assert output == "There are no jobs with the status error.\n"


def test_clean_bit_by_bit(
    file: Path, within: Within, statuses: Statuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many are removed in several transactions, the oldest first, up to a limit."""
    monkeypatch.setattr(clean, "BATCH", 4)
    monkeypatch.setattr(clean, "LOOK_AT", 10)

    def add(service: Any) -> None:
        for number in range(60):
            service.add("echo", number, startLater=number % 3 == 0)
        service.process()

    within(add)
    assert done("clean", "-d", file, "-y", "--limit", 7) == "7 jobs removed.\n"
    left = [i for i, status in statuses().items() if status == COMPLETED]
    assert min(left) > 8
    done("clean", "-d", file, "-y")
    assert set(statuses().values()) == {ERROR, STARTLATER, DELAYED, CRONJOB}


def test_over_a_server(uri: str) -> None:
    """Two processes change what a third one sees."""
    added = run("add", "-d", uri, *SETUP, "echo", "1")
    assert added.returncode == 0, added.stderr
    jobid = added.stdout.strip()
    done("cancel", "-d", uri, jobid)
    found = json.loads(run("show", "-d", uri, jobid, "--json").stdout)
    assert found["status"] == CANCELLED


# Cron jobs


@pytest.fixture
def paused(within: Within) -> Callable[[int], bool]:
    """Whether a cron job is paused."""
    return lambda jobid: within(lambda service: service.jobs[jobid].paused)


def test_cron_list(file: Path, within: Within) -> None:
    """Each cron job with its schedule, in words, and its next run."""
    within(
        lambda s: [
            s.addCronJob("echo", cron="*/5 * * * *", timezone="Europe/Berlin"),
            s.addCronJob("echo", hour=3, minute=(0, 30)),
            s.pause(s.addCronJob("echo", every=7200)),
        ]
    )
    header, *rows = done("cron", "list", "-d", file).splitlines()
    assert header.startswith("ID  TASK  SCHEDULE")
    assert "*/5 * * * * (Europe/Berlin)" in rows[1]
    assert "each day at 03:00, 03:30 (UTC)" in rows[2]
    assert "every 2 h" in rows[3]
    assert "paused" in rows[3]
    found = json.loads(done("cron", "list", "-d", file, "--json"))
    assert [job["id"] for job in found] == [6, 8, 9, 10]


def test_no_cron_jobs(file: Path) -> None:
    """Where there are none, nothing is listed."""
    done("cancel", "-d", file, 6)
    result = invoke("cron", "list", "-d", file)
    assert (result.stdout, result.stderr) == ("", "There are no cron jobs.\n")
    assert json.loads(done("cron", "list", "-d", file, "--json")) == []


def test_cron_verbs(file: Path, within: Within, paused: Any) -> None:
    """They are paused, resumed and run."""
    assert done("cron", "pause", "-d", file, 6) == "Job 6: paused.\n"
    assert paused(6)
    result = invoke("cron", "next", "-d", file, 6)
    assert (result.stdout, result.stderr) == ("", "Nothing is planned. It is paused.\n")
    assert done("cron", "resume", "-d", file, 6) == "Job 6: goes on.\n"
    assert not paused(6)
    assert done("cron", "run", "-d", file, 6) == "Job 6: runs now.\n"
    within(lambda service: service.process())
    rows = done("cron", "list", "-d", file).splitlines()
    assert "completed" in rows[1]


def test_cron_next(file: Path) -> None:
    """When it runs next, as often as is asked for."""
    assert len(done("cron", "next", "-d", file, 6, "-n", 3).splitlines()) == 3
    assert len(json.loads(done("cron", "next", "-d", file, 6, "--json"))) == 5


def test_cron_of_others(file: Path, paused: Any) -> None:
    """What is no cron job, is over or does not exist is told; nothing is changed."""
    assert refused("cron", "pause", "-d", file, 6, 3) == (
        "Error: jobid: 3 is no cron job. Nothing was changed."
    )
    assert not paused(6)
    assert refused("cron", "run", "-d", file, 99) == "Error: There is no job 99."
    assert "Job 3 is no cron job" in refused("cron", "next", "-d", file, 3)
    assert refused("cron", "next", "-d", file, 99) == "Error: There is no job 99."
    done("cancel", "-d", file, 6)
    result = invoke("cron", "pause", "-d", file, 6)
    assert (result.exit_code, result.stderr) == (1, "Job 6 is over.\n")
    assert "It is over." in invoke("cron", "next", "-d", file, 6).stderr
