"""The commands that look: ``status``, ``jobs``, ``show``, ``tasks``."""

from __future__ import annotations

import json
import time
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import transaction

from lovely.remotetask import health
from lovely.remotetask.cli.status import Limits, report
from lovely.remotetask.states import STATUSES
from lovely.remotetask.workers import Lease
from tests.cli.commands import SETUP, done, invoke, refused, run
from tests.cli.conftest import Within
from tests.support import FakeEnvironment, put_service


def lines(*args: object) -> list[str]:
    return done(*args).splitlines()


def test_status_tells_the_counts(file: Path) -> None:
    """The counts by status, and who works."""
    output = done("status", "-d", file)
    for status in STATUSES:
        count = 0 if status == "processing" else 1
        assert f"{status.capitalize():<16}{count}\n" in output
    assert output.startswith(f"Service         /tasks in {file}\nState           ok\n")
    assert "There is no worker." in output


def test_status_as_json(file: Path) -> None:
    """The same, for programs, on one line."""
    [line] = lines("status", "-d", file, "--json")
    found = json.loads(line)
    assert found["counts"] == {s: int(s != "processing") for s in STATUSES}
    assert (found["state"], found["reasons"], found["stalled"]) == ("ok", [], False)
    assert (found["service"], found["database"]) == ("/tasks", str(file))
    assert found["total"] == 7
    assert found["oldest_waiting_seconds"] >= 0
    assert found["workers"] == []


def test_status_warns_of_what_it_is_told(file: Path) -> None:
    """Beyond a limit, the exit status is 1, and it says why."""
    result = invoke("status", "-d", file, "--max-errors", 0, "--max-waiting", 0)
    assert result.exit_code == 1
    assert "1 job in error" in result.output
    assert "the oldest job has waited for" in result.output
    limits = ["--max-errors", 1, "--max-waiting", 1000]
    done("status", "-d", file, *limits)


@pytest.fixture
def waiting(service: Any, environment: FakeEnvironment) -> Any:
    """A service with a job that has waited for long."""
    environment.now = time.time() - 10_000
    service.add("echo")
    transaction.commit()
    environment.now = time.time()
    return service


def test_a_stall_is_critical(waiting: Any) -> None:
    """Jobs that nobody takes are critical."""
    found = report(waiting)
    assert found.level == 2
    assert found.reasons == [
        "there is no worker, and a job has been due for 2 h 46 min"
    ]


def test_workers_that_take_nothing_are_critical(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are workers that take no jobs, and each is told."""
    waiting._workers.register(waiting, 1, Lease())
    transaction.commit()
    monkeypatch.setattr(health._Look, "_name", lambda *args: health.STALLED)
    found = report(waiting)
    assert found.level == 2
    assert found.reasons == [
        "no worker takes jobs, and a job has been due for 2 h 46 min",
        "1 worker stalled",
    ]


def test_a_silent_worker_is_a_warning(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is silent is a warning, as long as nothing is late."""
    service._workers.register(service, 1, Lease())
    transaction.commit()
    monkeypatch.setattr(health._Look, "_name", lambda *args: health.SILENT)
    found = report(service, Limits(errors=0))
    assert (found.level, found.reasons) == (1, ["1 worker silent"])


def test_stall_is_an_exit_status(file: Path, within: Within) -> None:
    """The exit status is 2 if jobs are not taken."""
    within(lambda service: setattr(service, "stalledAfter", 0.0))
    result = invoke("status", "-d", file)
    assert result.exit_code == 2
    assert "State           critical\n" in result.output


def test_jobs_are_listed(file: Path) -> None:
    """Newest first, in columns that a program can read too."""
    header, *rows = lines("jobs", "-d", file)
    assert header.split() == ["ID", "TASK", "STATUS", "ADDED", "TOOK", "TRIES", "ERROR"]
    assert [row.split()[0] for row in rows] == ["7", "6", "5", "4", "3", "2", "1"]
    assert rows[5].endswith("RuntimeError: no [red]luck[/red]")
    assert [row.split()[0] for row in lines("jobs", "-d", file, "--oldest-first")][
        1:3
    ] == ["1", "2"]


def test_jobs_are_chosen(file: Path) -> None:
    """By status, task, text and time."""

    def ids(*args: object) -> list[int]:
        found = json.loads(done("jobs", "-d", file, "--json", *args))
        return [job["id"] for job in found["jobs"]]

    assert ids("--status", "error") == [2]
    assert ids("--task", "fail") == [2]
    assert ids("--text", "SECOND") == [2]
    assert ids("--text", "nothing") == []
    assert ids("--since", "1h") == [7, 6, 5, 4, 3, 2, 1]
    assert ids("--until", "1h") == []
    assert ids("--since", "2020-01-01T00:00Z", "--until", "2020-01-02") == []


def test_jobs_go_on(file: Path) -> None:
    """A page says where the next one begins."""
    result = invoke("jobs", "-d", file, "--limit", 3)
    assert "go on with --start 4." in result.stderr
    found = json.loads(done("jobs", "-d", file, "--limit", 3, "--start", 4, "--json"))
    assert [job["id"] for job in found["jobs"]] == [4, 3, 2]
    assert found["next"] == 1
    assert invoke("jobs", "-d", file, "--start", 1).stderr == ""


def test_no_jobs(file: Path) -> None:
    """Nothing is printed that a program would take for a job."""
    result = invoke("jobs", "-d", file, "--task", "none")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No jobs.\n")


@pytest.mark.parametrize("time", ["yesterday", "7", "2020-13-01"])
def test_bad_times(file: Path, time: str) -> None:
    """A time that is none is refused, and the message shows what is."""
    assert "like 90m or 7d" in refused("jobs", "-d", file, "--since", time)


@pytest.mark.parametrize("time", ["99999999999d", "9999999d"])
def test_times_that_are_out_of_reach(file: Path, time: str) -> None:
    """So is one that no calendar has."""
    assert "before the year 1" in refused("jobs", "-d", file, "--since", time)


def test_seconds_that_are_none(file: Path) -> None:
    """What is no number is refused, where it would switch off a limit."""
    line = refused("status", "-d", file, "--max-waiting", "nan")
    assert "'nan' is no number" in line


def test_show_a_job(file: Path) -> None:
    """All that is known, with the traceback, and nothing of it as markup."""
    output = done("show", "-d", file, 2)
    assert "Status    error\n" in output
    assert "  'no [red]luck[/red]\\nsecond line'\n" in output
    assert "  Traceback (most recent call last):\n" in output
    assert "  RuntimeError: no [red]luck[/red]\n  second line\n" in output
    output = done("show", "-d", file, 1)
    assert "Output\n  {'n': 1}\n" in output


def test_show_a_cron_job(file: Path) -> None:
    """A cron job has a schedule."""
    assert "Schedule  every 1 min 30 s\n" in done("show", "-d", file, 6)


def test_show_as_json(file: Path) -> None:
    """The same for programs."""
    found = json.loads(done("show", "-d", file, 2, "--json"))
    assert found["attempts"][0]["failure"]["type"] == "RuntimeError"
    assert found["input"] == "no [red]luck[/red]\nsecond line"
    found = json.loads(done("show", "-d", file, 6, "--json"))
    assert found["schedule"] == "every 1 min 30 s"
    assert len(found["next"]) == 5


class Colour(Enum):
    """What stands in a job, and is not of the application any more."""

    RED = "red"


def test_show_what_can_not_be_loaded(
    file: Path, within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the job is shown, and what is wrong with its input."""
    jobid = within(lambda service: service.add("echo", Colour.RED))
    monkeypatch.setitem(globals(), "Colour", Enum("Colour", {"BLUE": "blue"}))
    reason = "<can't be loaded: ValueError: 'red' is not a valid Colour>"
    assert f"Input\n  {reason}\n" in done("show", "-d", file, jobid)
    found = json.loads(done("show", "-d", file, jobid, "--json"))
    assert (found["input"], found["status"]) == (reason, "queued")


def test_show_what_json_has_not(file: Path, within: Within) -> None:
    """Other values are shown as Python would."""
    values = [{(1, 2): b"x"}, {1, 2}, "\x1b[2J", "y" * 5000]
    added = [within(lambda s, v=v: _add(s, v)) for v in values]
    assert json.loads(done("show", "-d", file, added[0], "--json"))["input"] == repr(
        values[0]
    )
    assert json.loads(done("show", "-d", file, added[1], "--json"))["input"] == "{1, 2}"
    assert "\x1b[2J" not in done("show", "-d", file, added[2])
    output = done("show", "-d", file, added[3])
    assert "more characters; --full shows them]" in output
    assert "more characters" not in done("show", "-d", file, added[3], "--full")


def _add(service: Any, value: Any) -> int:
    jobid: int = service.add("echo", value)
    return jobid


def test_unknown_job(file: Path) -> None:
    """An id that is not there is told."""
    assert refused("show", "-d", file, 99) == "Error: There is no job 99."


def test_tasks(file: Path) -> None:
    """The tasks that are registered here, with what they say of themselves."""
    output = done("tasks", "-d", file, *SETUP)
    assert "echo    SimpleTask  A task's function: return the input.\n" in output
    found = json.loads(done("tasks", "-d", file, *SETUP, "--json"))
    assert {"echo", "fail"} <= {task["name"] for task in found}


def test_no_tasks(file: Path) -> None:
    """Without any it says how to register some."""
    from zope.component import getGlobalSiteManager

    for utility in list(getGlobalSiteManager().registeredUtilities()):
        getGlobalSiteManager().unregisterUtility(
            utility.component, utility.provided, utility.name
        )
    result = invoke("tasks", "-d", file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "See --setup and --zcml." in result.stderr


def test_looking_writes_nothing(file: Path) -> None:
    """The file is as it was, whatever has been looked at."""
    before = file.read_bytes()
    for command in [
        "status",
        "jobs",
        "tasks",
        "doctor",
        ["show", "2"],
        ["cron", "list"],
    ]:
        done(*([command] if isinstance(command, str) else command), "-d", file)
    assert file.read_bytes() == before


def test_a_file_that_is_in_use(file: Path, within: Within) -> None:
    """A file can be looked at while another process has it open."""

    def look(service: Any) -> str:
        found = run("status", "-d", file, "--json")
        assert found.returncode == 0, found.stderr
        return found.stdout

    assert json.loads(within(look))["total"] == 7


def test_over_a_server(uri: str) -> None:
    """What the server's clients see is what is told; a pipe gets plain text."""
    found = run("status", "-d", uri, TERM="xterm-256color")
    assert found.returncode == 0, found.stderr
    assert f"/tasks in {uri}\n" in found.stdout
    assert "\x1b" not in found.stdout
    assert found.stderr == ""


def test_status_is_quick(file: Path) -> None:
    """It imports no more than it needs: no server's client, no drawing."""
    code = (
        "import sys\n"
        "from lovely.remotetask.cli import main\n"
        f"main(['status', '-d', {str(file)!r}], standalone_mode=False)\n"
        "slow = {'ZEO', 'relstorage', 'rich.console', 'ZConfig', 'asyncio'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    import subprocess
    import sys

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_service_of_its_own(db: Any) -> None:
    """A report can be made of a service with nothing in it."""
    service = put_service(db, "other")
    assert report(service).level == 0
