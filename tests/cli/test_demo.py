"""``remotetask demo``, as its users meet it."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zope.component
from click.testing import CliRunner, Result
from ZODB import DB
from ZODB.FileStorage import FileStorage

from lovely.remotetask.cli import main
from lovely.remotetask.cli.demo import display, survey
from lovely.remotetask.cli.demo.files import files_below
from lovely.remotetask.cli.demo.survey import Survey, registered_task
from lovely.remotetask.cli.logs import shown_trouble
from lovely.remotetask.cli.problems import Unusable
from lovely.remotetask.cli.text import printable
from lovely.remotetask.interfaces import COMPLETED, ITask
from tests.cli import commands
from tests.cli.commands import COMMAND, environment, invoke, on_terminal
from tests.support import PATIENCE

#: A user, and a group, that owns nothing.
NOBODY = 65534


def demo(*args: object) -> Result:
    """Run the command in this process."""
    return invoke("demo", *args)


def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, its output in pipes."""
    return commands.run("demo", *args, **env)


def cell(output: str, title: str) -> str:
    """What stands beside a title in the table."""
    found = re.search(rf"^│ {title} +│ (.*?) *│$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with four files, two of which are the same."""
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "one").write_bytes(b"same")
    (tree / "deep" / "two").write_bytes(b"same")
    (tree / "deep" / "er" / "large").write_bytes(b"x" * 5000)
    (tree / "deep" / "er" / "empty").touch()
    return tree


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    """Where a database is kept."""
    return tmp_path / "keep"


@contextmanager
def opened(keep: Path) -> Iterator[DB]:
    """The database that a run has kept."""
    keep.mkdir(exist_ok=True)
    with closing(DB(FileStorage(str(keep / "Data.fs")))) as db:
        yield db


@contextmanager
def opened_root(keep: Path) -> Iterator[Any]:
    """The root of the database that a run has kept."""
    with opened(keep) as db, closing(db.open()) as connection:
        yield connection.root()


def add_only(tree: Path, keep: Path) -> None:
    """What a run leaves that was interrupted before the first job ran."""
    with (
        opened(keep) as db,
        registered_task(tree),
        closing(Survey(db, tree)) as begun,
    ):
        assert list(begun.add(files_below(tree, pytest.fail)))


def make_slow(tree: Path, count: int = 40) -> None:
    """Add files that take some 10 ms each, and no space (they are sparse)."""
    for number in range(count):
        with (tree / f"sparse{number}").open("wb") as file:
            file.truncate(16 * 2**20 + number)


# What it finds


def test_table_tells_what_the_jobs_found(tree: Path) -> None:
    """The table has files, bytes, the largest, distinct contents and failures."""
    result = demo(tree)
    assert result.exit_code == 0
    assert cell(result.output, "Directory") in str(tree)
    assert cell(result.output, "Files") == "4"
    assert cell(result.output, "Bytes") == "5,008 (5.0 kB)"
    assert cell(result.output, "Largest file") == "deep/er/large (5.0 kB)"
    assert cell(result.output, "Distinct contents") == "3"
    assert cell(result.output, "Failed jobs") == "0"


def test_table_tells_the_rates(tree: Path) -> None:
    """The table has the jobs added and done per second, and in what time."""
    output = demo(tree).output
    for title in ["Jobs added", "Jobs done"]:
        assert re.fullmatch(
            r"[\d,]+ per second \(4 in \d+\.\d\d s\)", cell(output, title)
        )


def test_runs_as_a_module(tree: Path) -> None:
    """``python -m lovely.remotetask.cli`` is the command."""
    result = run(tree)
    assert result.returncode == 0, result.stderr
    assert cell(result.stdout, "Files") == "4"


def test_standard_library_is_the_default(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a directory, it examines Python's standard library, and only that."""
    paths = {"stdlib": str(tree)}
    monkeypatch.setattr(sysconfig, "get_path", paths.__getitem__)
    for name in ("site-packages", "deep/__pycache__"):
        (tree / name).mkdir()
        (tree / name / "more").touch()
    assert cell(demo().output, "Files") == "4"
    assert cell(demo(tree).output, "Files") == "6"


def test_stopped_default(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To go on with the default needs no directory."""
    monkeypatch.setattr(sysconfig, "get_path", {"stdlib": str(tree)}.__getitem__)
    monkeypatch.setattr(
        display.Notes, "adding", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    result = demo("--keep", tree.parent / "keep")
    assert result.exit_code == 130
    assert f"\n  remotetask demo --keep {tree.parent}/keep\n" in result.output


def test_only_regular_files_count(tree: Path) -> None:
    """Links, pipes and directories are no files."""
    (tree / "link").symlink_to(tree / "one")
    (tree / "dangling").symlink_to(tree / "nothing")
    (tree / "linked").symlink_to(tree / "deep", target_is_directory=True)
    os.mkfifo(tree / "pipe")
    result = demo(tree)
    assert (result.exit_code, cell(result.output, "Files")) == (0, "4")


def test_empty_directory(tmp_path: Path) -> None:
    """In an empty directory there is nothing to do, and all went well."""
    result = demo(tmp_path)
    assert result.exit_code == 0
    assert cell(result.output, "Files") == "0"
    assert cell(result.output, "Largest file") == "none"
    assert cell(result.output, "Jobs done") == "none in this run"


def test_jobs_hold_plain_values(tree: Path, keep: Path) -> None:
    """A job's input is the relative path, its output the size and the hash."""
    demo(tree, "--keep", keep)
    with opened_root(keep) as root:
        jobs = {job.input: job.output for job in root["tasks"].jobs.values()}
        assert root["directory"] == str(tree)
    large = b"x" * 5000
    assert sorted(jobs) == ["deep/er/empty", "deep/er/large", "deep/two", "one"]
    assert jobs["deep/er/large"] == (5000, hashlib.sha256(large).hexdigest())


def test_task_is_registered_while_it_runs(tree: Path) -> None:
    """The command leaves no task behind in the process."""
    assert demo(tree).exit_code == 0
    assert zope.component.queryUtility(ITask, survey.TASK) is None


WEIRD = [
    b"[red]markup",
    b"[",
    b":smile:",
    b"new\nline",
    b"escape\x1b[2J",
    b"undecodable\xff",
    "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n".encode(),
    b"-rf",
    b" ",
]


@pytest.mark.parametrize("name", WEIRD, ids=ascii)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_weird_names(tree: Path, keep: Path, name: bytes, encoding: str) -> None:
    """Any name is shown on one line, whether its job completes or fails."""
    weird = os.fsdecode(name)
    (tree / weird).write_bytes(b"y" * 6000)
    (tree / f"{weird}2").touch()
    add_only(tree, keep)
    (tree / f"{weird}2").unlink()
    result = CliRunner(charset=encoding).invoke(
        main, ["demo", str(tree), "--keep", str(keep)]
    )
    assert result.exit_code == 1, result.output
    assert "\x1b" not in result.output
    shown = printable(weird, encoding)
    table = result.output.replace("|", "│")  # what rich does for ASCII
    assert cell(table, "Largest file") == f"{shown} (6.0 kB)"
    assert f"\n  {shown}2: No such file or directory\n" in result.output


def test_printable_escapes() -> None:
    """What can't or must not be shown becomes an escape."""
    assert printable("a\tb\x1b\udcff") == r"a\tb\x1b\udcff"
    assert printable("\xfc", "ascii") == r"\xfc"


# Files that can't be read


def test_vanished_file_is_a_failed_job(tree: Path, keep: Path) -> None:
    """A file that is gone before its job runs is a failure with its reason."""
    add_only(tree, keep)
    (tree / "one").unlink()
    result = demo(tree, "--keep", keep)
    assert result.exit_code == 1
    assert cell(result.output, "Files") == "4"
    assert cell(result.output, "Failed jobs") == "1"
    assert cell(result.output, "Jobs done").endswith(" s)")
    assert "\nFailed jobs:\n  one: No such file or directory\n" in result.output


def become_pipe(path: Path) -> None:
    """A pipe would keep its reader waiting for ever."""
    os.mkfifo(path)


def become_folder(path: Path) -> None:
    """A folder can be opened, but not read."""
    path.mkdir()


def become_link(path: Path) -> None:
    """A link might lead anywhere."""
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("become", "reason"),
    [
        (become_pipe, "It is no regular file any more"),
        (become_link, "It is no regular file any more"),
        (become_folder, "Is a directory"),
    ],
)
def test_replaced_file_is_a_failed_job(
    tree: Path, keep: Path, become: Callable[[Path], None], reason: str
) -> None:
    """What has become something else than a file is not followed or waited for."""
    add_only(tree, keep)
    (tree / "one").unlink()
    become(tree / "one")
    result = demo(tree, "--keep", keep)
    assert result.exit_code == 1
    assert f"\n  one: {reason}\n" in result.output


def test_unreadable_file_is_a_failed_job(tmp_path: Path) -> None:
    """A file that nobody can open, not even root, is a failure with its reason."""
    top = tmp_path / "long"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    # So deep that the folder's path just fits into a call, and the file's not.
    room = os.pathconf("/", "PC_PATH_MAX") - 2 - len(os.fsencode(top))
    while room > 0:
        name = "d" * min(200, room - 1 if room < 202 else 200)
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder, room = inner, room - 1 - len(name)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    (top / "good").touch()
    result = run(top)
    assert result.returncode == 1, result.stderr
    assert cell(result.stdout, "Files") == "2"
    assert cell(result.stdout, "Failed jobs") == "1"
    assert "/file: File name too long\n" in result.stdout
    assert "Traceback" not in result.stderr


@contextmanager
def without_privileges(*owned: Path) -> Iterator[None]:
    """Within, this process is a user to whom permissions apply.

    ``owned`` are the paths of that user; those above may be passed through.
    """
    if os.geteuid() != 0:
        yield
        return
    if not hasattr(os, "setresuid"):
        pytest.skip("root can't become another user for a while")
    # Import all that is imported late: it may lie out of reach.
    demo(owned[0])
    demo(owned[0] / "no such directory")
    for path in owned:
        os.chown(path, NOBODY, NOBODY)
        for parent in path.parents:
            parent.chmod(parent.stat().st_mode | 0o001)
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def test_forbidden_file_is_a_failed_job(tree: Path) -> None:
    """A file without permission is a failure with its reason."""
    (tree / "one").chmod(0)
    with without_privileges(tree):
        result = demo(tree)
    assert result.exit_code == 1
    assert cell(result.output, "Failed jobs") == "1"
    assert "\n  one: Permission denied\n" in result.output


def test_forbidden_folder_is_told(tree: Path) -> None:
    """A folder that can't be listed is told; the rest is examined."""
    secret = tree / "secret"
    secret.mkdir(mode=0)
    with without_privileges(tree):
        result = demo(tree)
    assert result.exit_code == 1
    assert (cell(result.output, "Files"), cell(result.output, "Failed jobs")) == (
        "4",
        "0",
    )
    assert (
        f"\nFolders that could not be listed:\n  {secret}: Permission denied\n"
        in result.output
    )


def test_forbidden_directory_is_refused(tree: Path) -> None:
    """A directory that can't be read is a wrong use."""
    tree.chmod(0)
    with without_privileges(tree):
        result = demo(tree)
    tree.chmod(0o700)
    assert result.exit_code == 2
    assert "is not readable" in result.output


def test_first_failures_are_listed(tree: Path, keep: Path) -> None:
    """Of many failures the first few are listed, and the rest counted."""
    for number in range(20):
        (tree / f"gone{number}").touch()
    add_only(tree, keep)
    for number in range(20):
        (tree / f"gone{number}").unlink()
    output = demo(tree, "--keep", keep).output
    assert cell(output, "Failed jobs") == "20"
    assert output.count("No such file or directory") == survey.TOLD
    assert output.endswith("\n  ... and 15 more\n")


# Going on


def test_second_run_has_nothing_to_do(tree: Path, keep: Path) -> None:
    """Files that have a job are not added again; the table covers all jobs."""
    assert demo(tree, "--keep", keep).exit_code == 0
    result = demo(tree, "--keep", keep)
    assert result.exit_code == 0
    assert cell(result.output, "Files") == "4"
    assert cell(result.output, "Jobs added") == "none in this run"
    assert cell(result.output, "Jobs done") == "none in this run"


def test_second_run_adds_what_is_new(tree: Path, keep: Path) -> None:
    """A new file is added; one that is gone stays in the table."""
    demo(tree, "--keep", keep)
    (tree / "one").unlink()
    (tree / "new").write_bytes(b"new")
    result = demo(tree, "--keep", keep)
    assert result.exit_code == 0
    assert cell(result.output, "Files") == "5"
    assert "(1 in " in cell(result.output, "Jobs added")


def test_second_run_remembers_failures(tree: Path, keep: Path) -> None:
    """A job that has failed is in later tables, and in their exit status."""
    add_only(tree, keep)
    (tree / "one").unlink()
    demo(tree, "--keep", keep)
    result = demo(tree, "--keep", keep)
    assert (result.exit_code, cell(result.output, "Failed jobs")) == (1, "1")


def test_directory_may_be_named_differently(
    tree: Path, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same directory by a relative path or a link is the same."""
    demo(tree, "--keep", keep)
    (tree.parent / "link").symlink_to(tree, target_is_directory=True)
    monkeypatch.chdir(tree.parent)
    for name in ["tree", "link", "tree/deep/.."]:
        assert demo(name, "--keep", keep).exit_code == 0


def test_database_may_lie_within_the_directory(tree: Path) -> None:
    """The database's own files are files like others."""
    for _ in range(2):
        assert demo(tree, "--keep", tree / "keep").exit_code == 0


def all_done_once(tree: Path, keep: Path) -> bool:
    """Whether each file has one job, and that completed."""
    with opened_root(keep) as root:
        service = root["tasks"]
        paths = sorted(job.input for job in service.jobs.values())
        assert {job.status for job in service.jobs.values()} == {COMPLETED}
        assert service.count() == service.count(COMPLETED) == len(paths)
    return paths == sorted(files_below(tree, pytest.fail))


@pytest.mark.parametrize("phase", ["adding", "examining"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_it(
    tree: Path,
    keep: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    signum: int,
) -> None:
    """In each phase a signal stops it, and a second run does the rest."""
    monkeypatch.setattr(survey, "BATCH", 2)
    with monkeypatch.context() as patch:
        patch.setattr(display.Notes, phase, lambda *_: signal.raise_signal(signum))
        before = signal.getsignal(signum)
        result = demo(tree, "--keep", keep)
        assert signal.getsignal(signum) is before
    assert result.exit_code == 128 + signum
    command = f"remotetask demo {shlex.quote(str(tree))} --keep {keep}"
    assert re.search(
        rf"^Stopped: \d of [24] jobs are done\. Go on with:\n  {command}$",
        result.output,
        re.MULTILINE,
    )
    assert "│" not in result.output
    assert demo(tree, "--keep", keep).exit_code == 0
    assert all_done_once(tree, keep)


def test_stopped_without_keep(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --keep it says that nothing is kept, and how that would be."""
    monkeypatch.setattr(
        display.Notes, "adding", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    result = demo(tree)
    assert result.exit_code == 130
    assert "The temporary database is removed; with --keep PATH" in result.output


def test_ignored_signal_stays_ignored(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was started in a shell's background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(
        display.Notes, "adding", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    assert demo(tree).exit_code == 0


def test_second_signal_stops_at_once(
    tree: Path, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C does not wait for anything."""

    def twice(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal should have raised KeyboardInterrupt")

    with monkeypatch.context() as patch:
        patch.setattr(display.Notes, "examining", twice)
        assert demo(tree, "--keep", keep).exit_code == 130
    assert demo(tree, "--keep", keep).exit_code == 0
    assert all_done_once(tree, keep)


@contextmanager
def started(tree: Path, keep: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process, from when it examines files on."""
    with subprocess.Popen(
        [*COMMAND, "demo", str(tree), "--keep", str(keep)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any(line.startswith("Examining") for line in lines)
            yield process
        finally:
            process.kill()


def test_ctrl_c_in_a_process(tree: Path, keep: Path) -> None:
    """Ctrl-C in the middle of jobs ends with status 130; what is left is done later."""
    make_slow(tree)
    with started(tree, keep) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "Go on with:" in errors
    assert "Traceback" not in errors
    result = run(tree, "--keep", keep)
    assert result.returncode == 0, result.stderr
    assert cell(result.stdout, "Jobs added") == "none in this run"
    assert all_done_once(tree, keep)


def test_killed_process(tree: Path, keep: Path) -> None:
    """What a process leaves that is killed, a second run does."""
    make_slow(tree)
    with started(tree, keep) as process:
        process.kill()
        process.communicate(timeout=PATIENCE)
    result = run(tree, "--keep", keep)
    assert result.returncode == 0, result.stderr
    assert all_done_once(tree, keep)


# Wrong use


def refused(result: Result) -> str:
    """The one line of a run that was refused."""
    assert result.exit_code == 2, result.output
    line = result.output.splitlines()[-1]
    assert line.startswith("Error: ")
    assert "Traceback" not in result.output
    return line


def test_directory_that_is_none(tree: Path) -> None:
    """A directory that does not exist, or is a file, is refused."""
    assert "does not exist" in refused(demo(tree / "nothing"))
    assert "is a file" in refused(demo(tree / "one"))


def test_keep_that_is_no_directory(tree: Path) -> None:
    """A place for the database that is a file, or below one, is refused."""
    assert "is a file" in refused(demo(tree, "--keep", tree / "one"))
    line = refused(demo(tree, "--keep", tree / "one" / "below"))
    assert "can't be made: Not a directory. Choose another one for --keep." in line


def test_keep_without_permission(tree: Path, keep: Path) -> None:
    """A place for the database that can't be written to is refused."""
    keep.mkdir(mode=0o500)
    with without_privileges(tree, keep):
        line = refused(demo(tree, "--keep", keep))
    assert "Permission denied" in line
    assert "Choose another directory for --keep." in line


def test_keep_with_another_file(tree: Path, keep: Path) -> None:
    """A file that is no database is refused, and left as it is."""
    keep.mkdir()
    (keep / "Data.fs").write_text("something else")
    result = run(tree, "--keep", keep)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert re.search(r"Data\.fs can't be opened: .* Choose another directory", line)
    assert (keep / "Data.fs").read_text() == "something else"


def test_keep_with_another_database(tree: Path, keep: Path) -> None:
    """A database of something else is refused, and left as it is."""
    with opened(keep) as db, db.transaction() as connection:
        connection.root()["site"] = "mine"
    line = refused(demo(tree, "--keep", keep))
    assert "belongs to something else. Choose another directory" in line
    with opened_root(keep) as root:
        assert dict(root) == {"site": "mine"}


def test_keep_with_another_directory(tree: Path, keep: Path) -> None:
    """A database that is about another directory is refused, and names both."""
    demo(tree, "--keep", keep)
    line = refused(demo(tree / "deep", "--keep", keep))
    assert f"is about {tree}, not {tree}/deep. Give that directory" in line
    assert all_done_once(tree, keep)


def test_locked_database(tree: Path, keep: Path) -> None:
    """A database that another process uses is refused in one line."""
    with opened(keep):
        result = run(tree, "--keep", keep)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"Error: Another process is using the database in {keep}. Wait for it to "
        "end, or choose another directory for --keep.\n"
    )


def test_no_space(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error of the system is one line."""

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Survey, "_add_batch", full)
    assert "No space left on device" in refused(demo(tree))


def test_debug_shows_all(tree: Path, keep: Path) -> None:
    """With --debug, the log is shown, and an error with its traceback."""
    add_only(tree, keep)
    (tree / "one").unlink()
    args = ["--debug", "demo", str(tree), "--keep", str(keep)]
    result = CliRunner().invoke(main, args)
    assert "ERROR lovely.remotetask: tasks: job" in result.output
    args[2] = str(tree / "deep")
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


# What it shows meanwhile


def test_pipes_get_plain_text(tree: Path) -> None:
    """In a pipe there are no control codes, and still a word on how it goes."""
    result = run(tree, TERM="xterm-256color")
    assert "\x1b" not in result.stdout + result.stderr
    assert "\r" not in result.stdout + result.stderr
    assert result.stderr.splitlines() == [
        "Adding jobs ...",
        "4 jobs added for 4 files.",
        "Examining files: 4 jobs to do ...",
    ]


def test_pipes_get_no_bar_even_in_colour(tree: Path) -> None:
    """What moves the cursor is kept out of a pipe whose reader wants colours."""
    result = run(tree, TERM="xterm-256color", FORCE_COLOR="1")
    assert "\x1b[1m" in result.stdout
    assert "\x1b[?25l" not in result.stderr
    assert "\r" not in result.stderr


def test_notes_tell_how_it_goes(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run without a terminal says now and then how far it is."""
    monkeypatch.setattr(display, "NOTE_SECONDS", 0)
    output = demo(tree).output
    assert "4 jobs added for 4 files so far." in output
    assert "4 of 4 jobs done." in output


def test_bars_on_a_terminal(tree: Path) -> None:
    """On a terminal of 80 columns two bars move, fit, and leave the cursor shown."""
    make_slow(tree, 10)
    with on_terminal("demo", tree) as terminal:
        assert terminal.end() == 0
    written, plain = terminal.written.decode(), terminal.plain
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.index("\x1b[?25h") > written.index("\x1b[?25l")
    lines = re.split(r"[\r\n]+", plain)
    assert max(map(len, lines)) <= 80
    assert any(re.match(r"Adding jobs +━+ +14 +[\d,]+/s", line) for line in lines)
    bars = [line for line in lines if re.match(r"Examining files +[━╸╺]+ ", line)]
    amounts = [int(re.findall(r" (\d+)/14 ", line)[0]) for line in bars]
    assert amounts[-1] == 14
    assert len(set(amounts)) > 2  # it has moved
    assert cell(plain.replace("\r", ""), "Files") == "14"


def test_reader_that_closes_its_pipe(tree: Path) -> None:
    """A reader that has seen enough is no reason for a traceback."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        result = subprocess.run(
            [*COMMAND, "demo", str(tree)],
            env=environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


# The rest


def test_trouble_in_the_background_is_told_once() -> None:
    """Errors of the database are told once each; failed jobs are not."""
    told: list[str] = []
    log = logging.getLogger("lovely.remotetask")
    with shown_trouble(told.append, debug=False):
        log.error("job 1 failed")
        for _ in range(2):
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError:
                log.exception("trying again")
    (line,) = told
    assert line.endswith("again: OSError: [Errno 28] No space left on device")


def test_processing_that_ends_by_itself(tree: Path, keep: Path) -> None:
    """It does not wait for ever for jobs that nobody processes."""
    with opened(keep) as db, closing(Survey(db, tree)) as begun:
        begun.progress()
        with pytest.raises(Unusable, match="has ended by itself"):
            begun.check_processing()


def test_help_and_version() -> None:
    """The command tells what it does, and its version."""
    runner = CliRunner()
    assert "--keep PATH" in runner.invoke(main, ["demo", "-h"]).output
    assert "demo" in runner.invoke(main, ["--help"]).output
    assert "1.0" in runner.invoke(main, ["--version"]).output


@pytest.mark.parametrize("library", ["click", "rich", "zodburi"])
def test_missing_extra(library: str) -> None:
    """Without the extra's libraries, the command says what to install."""
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from lovely.remotetask.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"remotetask: {library} is not installed. Install the extra it comes with: "
        "pip install 'lovely.remotetask[cli]'\n"
    )
