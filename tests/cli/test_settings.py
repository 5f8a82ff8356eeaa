"""Settings from the environment and from a file, and what counts most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
)

from lovely.remotetask.cli.commands import main
from lovely.remotetask.cli.settings import defaults
from lovely.remotetask.service import TaskService
from tests.cli.commands import SETUP, done, invoke, refused
from tests.cli.conftest import Within


@pytest.fixture
def project(file: Path) -> Path:
    """A ``pyproject.toml`` beside the database that names it."""
    path = file.parent / "pyproject.toml"
    path.write_text(
        "[tool.remotetask]\n"
        'database = "file://Data.fs"\n'
        'service = "/tasks"\n'
        'setup = "tests.cli.application:tasks"\n'
        "[tool.remotetask.jobs]\n"
        "limit = 2\n"
        "oldest-first = true\n"
    )
    return path


def test_a_file_names_the_database(project: Path) -> None:
    """Neither database nor service nor tasks have to be given then."""
    assert f"/tasks in file://{project.parent}/Data.fs" in done("status")
    assert done("add", "echo") == "8\n"


def test_a_file_is_found_upward(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder below, paths are still relative to the file."""
    below = project.parent / "src" / "news"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("[tool.other]\n")
    monkeypatch.chdir(below)
    assert "/tasks in file://" in done("status")


def test_options_of_a_command(project: Path) -> None:
    """A table named as a command has its options."""
    rows = done("jobs").splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert len(done("jobs", "--limit", 3).splitlines()) == 4


def test_groups_have_the_settings_too(project: Path) -> None:
    """So have the commands of a group, and tables of their own."""
    assert "every 1 min 30 s" in done("cron", "list")
    with project.open("a") as more:
        more.write("[tool.remotetask.cron.next]\ncount = 2\njson = true\n")
    assert len(json.loads(done("cron", "next", 6))) == 2


def test_names_are_those_of_the_options(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file, and in variables."""
    with project.open("a") as more:
        more.write("[tool.remotetask.status]\njson = true\n")
    assert json.loads(done("status"))["total"] == 7
    monkeypatch.setenv("REMOTETASK_TASKS_JSON", "1")
    assert json.loads(done("tasks"))
    monkeypatch.setenv("REMOTETASK_RETRY_ALL", "1")
    assert done("retry") == "1 job queued again.\n"
    monkeypatch.setenv("REMOTETASK_CLEAN_STATUS", "cancelled")
    assert done("clean", "-y") == "1 job removed.\n"


@pytest.mark.parametrize("database", ["Data.fs", "file://Data.fs"])
def test_files_are_beside_the_one_that_names_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """Wherever the command is called."""
    text = project.read_text().replace("file://Data.fs", database)
    project.write_text(text + "[tool.remotetask.worker]\nhealth-file = 'health'\n")
    below = project.parent / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert "/tasks in" in done("status")
    ctx = click.Context(main, info_name="remotetask")
    ctx.invoked_subcommand = "worker"
    found = defaults(ctx, main, project)["worker"]
    assert found["health_file"] == str(project.parent / "health")


def test_several_services(project: Path, within: Within) -> None:
    """A worker takes several, by the file too; other commands ask for one."""

    def add(service: Any) -> None:
        other = service.__parent__["other"] = TaskService()
        other.__parent__, other.__name__ = service.__parent__, "other"

    within(add)
    before = project.read_text()
    project.write_text(before.replace('"/tasks"', '["/tasks"]'))
    assert "/tasks in" in done("status")
    project.write_text(before.replace('"/tasks"', '["/tasks", "/other"]'))
    assert "There are several services" in refused("status")
    assert "/other in" in done("status", "-s", "other")
    ctx = click.Context(main, info_name="remotetask")
    ctx.invoked_subcommand = "worker"
    assert defaults(ctx, main, project)["worker"]["service"] == ["/tasks", "/other"]


@pytest.mark.parametrize("status", ["start later", "start-later"])
def test_statuses_as_shells_complete_them(file: Path, status: str) -> None:
    """A status of two words can be written as one."""
    rows = done("jobs", "-d", file, "--status", status).splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["4"]


def test_a_file_that_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, or its variable, names another file."""
    other = project.rename(project.parent / "other.toml")
    assert "Which database?" in refused("status")
    assert "/tasks in" in done("--config", other, "status")
    monkeypatch.setenv("REMOTETASK_CONFIG", str(other))
    assert "/tasks in" in done("status")


def test_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option has a variable."""
    monkeypatch.setenv("REMOTETASK_DATABASE", str(file))
    monkeypatch.setenv("REMOTETASK_JOBS_LIMIT", "1")
    monkeypatch.setenv("REMOTETASK_SETUP", SETUP[1])
    assert f"/tasks in {file}" in done("status")
    assert len(done("jobs").splitlines()) == 2
    assert done("add", "echo") == "8\n"


def test_the_nearest_counts(
    project: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options count before variables, and these before the file."""
    zconfig = project.parent / "empty.conf"
    zconfig.write_text(
        f"<zodb>\n<filestorage>\npath {empty}\n</filestorage>\n</zodb>\n"
    )
    monkeypatch.setenv("REMOTETASK_ZCONFIG", str(zconfig))
    assert "no task service at '/tasks'" in refused("status")
    assert "/tasks in" in done("status", "-d", project.parent / "Data.fs")
    monkeypatch.setenv("REMOTETASK_SERVICE", "/nowhere")
    assert "'/nowhere'" in refused("status", "-d", project.parent / "Data.fs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[tool.remotetask\n", "pyproject.toml is not valid TOML"),
        ("[tool.remotetask]\ndatabse = 'x'\n", "has 'databse'; known are add, bench"),
        ("[tool]\nremotetask = 1\n# tool.remotetask", "has no table [tool.remotetask]"),
        ("[tool.remotetask.status]\nnope = 1\n", "status] has 'nope'; known are "),
        ("[tool.remotetask]\nstatus = 1\n", "'status' is to be a table"),
        ("[tool.remotetask]\nwait = 'long'\n", "Invalid value for '--wait'"),
    ],
)
def test_a_file_with_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    """A mistake in the file is told, with the file and the key."""
    (tmp_path / "pyproject.toml").write_text(text)
    result = invoke("status")
    assert result.exit_code == 2
    assert expected in result.output


def test_a_file_that_is_not_there() -> None:
    """A file that is named and not there is told."""
    assert "none.toml can't be read" in refused("--config", "none.toml", "status")


@pytest.mark.parametrize(
    ("shell", "words", "current", "expected"),
    [
        (BashComplete, "remotetask jobs --st", "2", "--status"),
        (BashComplete, "remotetask jobs --status st", "3", "start-later"),
        (ZshComplete, "remotetask cron pau", "2", "pause"),
        (FishComplete, "remotetask cron pau", "pau", "pause"),
    ],
)
def test_completion_in_shells(
    monkeypatch: pytest.MonkeyPatch,
    shell: type[ShellComplete],
    words: str,
    current: str,
    expected: str,
) -> None:
    """Each shell has its way to ask; options and values are completed, too."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", current)
    asked = shell(main, {}, "remotetask", "_REMOTETASK_COMPLETE")
    assert expected in asked.complete()
    assert "_REMOTETASK_COMPLETE=" in asked.source_template % asked.source_vars()


def test_completion() -> None:
    """Click's completion of the shell knows the commands and their options."""
    import subprocess

    from tests.cli.commands import COMMAND, environment

    words = environment(
        _REMOTETASK_COMPLETE="bash_complete", COMP_WORDS="remotetask st", COMP_CWORD="1"
    )
    code = "from lovely.remotetask.cli import main; main(prog_name='remotetask')"
    result = subprocess.run(
        [COMMAND[0], "-c", code], env=words, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines() == ["plain,status", "plain,start"]


def test_help() -> None:
    """Each command says what it does, and the group lists them by purpose."""
    output = done("--help")
    for section in ("Run:", "Look:", "Change:", "Look after:"):
        assert f"\n{section}\n" in output
    assert "\n  worker " in output
    assert "Database and service:" in done("status", "--help")
    assert "No such command 'statsu'" in invoke("statsu").output
