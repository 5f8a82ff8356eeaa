"""Which database and which service is meant, and what if it can't be had."""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from relstorage.options import Options
from ZODB.FileStorage import FileStorage
from zope.component.hooks import setHooks
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from lovely import remotetask
from lovely.remotetask.cli import locate
from lovely.remotetask.cli.database import shown
from lovely.remotetask.cli.postgres import Helper
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.states import COMPLETED
from tests.cli import application
from tests.cli.commands import SETUP, done, invoke, refused, run
from tests.storages import open_database, store, zeo_server
from tests.support import wait_until

STATUS = "Service         "


def found(*args: object) -> str:
    """The service that ``status`` tells of."""
    first = done("status", *args).splitlines()[0]
    assert first.startswith(STATUS)
    return first.removeprefix(STATUS)


# Databases


def test_ways_to_name_a_file(file: Path) -> None:
    """A path, a URI, or a file of ZConfig."""
    zconfig = file.parent / "zodb.conf"
    zconfig.write_text(
        f"<zodb>\n  <filestorage>\n    path {file}\n  </filestorage>\n</zodb>\n"
    )
    assert found("-d", file) == f"/tasks in {file}"
    assert found("-d", "Data.fs") == "/tasks in Data.fs"
    assert found("-d", f"file://{file}") == f"/tasks in file://{file}"
    assert found("-d", f"file://{file}?connection_cache_size=50").startswith(
        "/tasks in"
    )
    assert found("--zconfig", zconfig) == f"/tasks in {zconfig}"
    assert found("-d", f"zconfig://{zconfig}").startswith("/tasks in")
    assert done("add", "--zconfig", zconfig, *SETUP, "echo") == "8\n"


def test_zconfig_of_a_server(uri: str, tmp_path: Path) -> None:
    """A file of ZConfig may name a server, and a storage within another."""
    zconfig = tmp_path / "zeo.conf"
    address = uri.removeprefix("zeo://")
    zconfig.write_text(
        "<zodb>\n<demostorage>\n<zeoclient base>\n"
        f"server {address}\n</zeoclient>\n</demostorage>\n</zodb>\n"
    )
    assert found("--zconfig", zconfig) == f"/tasks in {zconfig}"


def test_postgresql(tmp_path: Path) -> None:
    """A database in PostgreSQL, through RelStorage."""
    zconfig = tmp_path / "pg.conf"
    with store("PostgreSQL", tmp_path) as address:
        dsn = address.partition(":")[2]
        zconfig.write_text(
            "%import relstorage\n<zodb>\n<relstorage>\n<postgresql>\n"
            f"dsn {dsn}\n</postgresql>\n</relstorage>\n</zodb>\n"
        )
        db = open_database(address)
        with db.transaction() as connection:
            put(connection.root(), "tasks")
        db.close()
        assert found("--zconfig", zconfig) == f"/tasks in {zconfig}"
        assert done("add", "--zconfig", zconfig, *SETUP, "echo") == "1\n"
        settings = dict(pair.split("=") for pair in dsn.split())
        options = f"host={settings['host']}&connection_cache_size=50"
        uri = f"postgresql://{settings['user']}@/{settings['dbname']}?{options}"
        assert found("-d", uri) == f"/tasks in {uri}"
        assert done("add", "-d", uri, *SETUP, "echo") == "2\n"
        done("worker", "-d", uri, *SETUP, "--burst")
        assert json.loads(done("status", "-d", uri, "--json"))["counts"][COMPLETED] == 2


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgres://host/news", "dbname='news' host='host'"),
        (
            "postgres://me:a%2Fb%3F%23%40%27%5C@host:1/news",
            r"dbname='news' user='me' password='a/b?#@\'\\' host='host' port='1'",
        ),
        ("postgres://me:x@h/n?sslmode=a'b", "USUAL sslmode='a\\'b'"),
        ("postgres://me:x@h/n?keep_history=1", "USUAL"),
    ],
)
def test_how_to_connect_to_postgresql(uri: str, expected: str) -> None:
    """What is special in a password can be written; what is not given is left out."""
    usual = "dbname='n' user='me' password='x' host='h'"
    parts = urlsplit(uri)
    factory, _ = Helper()(parts, dict(parse_qsl(parts.query)))
    dsn = factory(Options())._dsn
    assert dsn == expected.replace("USUAL", usual)


def test_no_database() -> None:
    """Without one it says how to name one."""
    assert "Which database? Give --database" in refused("status")


def test_two_databases(file: Path) -> None:
    """Two are refused."""
    line = refused("status", "-d", file, "--zconfig", "x")
    assert line == "Error: Give either --database or --zconfig, not both."


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is told, and none is made."""
    assert "There is no database at 'none.fs'" in refused("status", "-d", "none.fs")
    assert "it is a directory" in refused("add", "-d", tmp_path, "echo")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    """It is told, and left as it is."""
    (tmp_path / "text").write_text("not a database")
    # In a process: ZODB leaves the file open.
    result = run("status", "-d", tmp_path / "text")
    assert result.returncode == 2
    assert "FileStorageFormatError" in result.stderr
    assert (tmp_path / "text").read_text() == "not a database"


def test_a_file_that_is_locked(file: Path) -> None:
    """What would change it says who is in the way, and what is possible."""
    db = ZODB.DB(FileStorage(str(file)))
    try:
        line = refused("cancel", "-d", file, 3)
        assert line.startswith("Error: Another process is using the database")
        assert "share the database over ZEO" in line
        done("status", "-d", file)
    finally:
        db.close()


@pytest.mark.parametrize("command", ["cancel", "worker", "bench", "convert"])
def test_a_file_for_reading_only(file: Path, command: str) -> None:
    """What is opened for reading only can be looked at; nothing is written to it."""
    zconfig = file.parent / "zodb.conf"
    zconfig.write_text(
        f"<zodb>\n<filestorage>\npath {file}\nread-only on\n</filestorage>\n</zodb>\n"
    )
    before = file.read_bytes()
    args = {"cancel": [3], "worker": []}.get(command, ["--yes"])
    for place in (["-d", f"file://{file}?read_only=1"], ["--zconfig", zconfig]):
        assert found(*place).startswith("/tasks in")
        line = refused(command, *args, *place)
        assert "is opened for reading only, and this has to write. Look for" in line
    assert file.read_bytes() == before


def test_a_server_for_reading_only(file: Path) -> None:
    """Commands that look are content with a server that lets nobody write."""
    with zeo_server(str(file), read_only=True) as server:
        uri = f"zeo://127.0.0.1:{server.port}"
        assert found("-d", uri).startswith("/tasks in")
        zconfig = file.parent / "zeo.conf"
        client = f"<clientstorage>\nserver 127.0.0.1:{server.port}\n</clientstorage>"
        zconfig.write_text(f"%import ZEO\n<zodb>\n{client}\n</zodb>\n")
        assert found("--zconfig", zconfig).startswith("/tasks in")
        # To a client that would write the server is none.
        line = refused("cancel", "--zconfig", zconfig, "--wait", 1, 3)
        assert "can't be reached" in line


def test_a_disk_that_is_full(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system is told as that, and nothing is changed."""

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileStorage, "tpc_vote", full)
        assert refused("cancel", "-d", file, 3) == "Error: No space left on device."
    assert "queued" in done("jobs", "-d", file, "--start", 3, "--limit", 1)


@pytest.mark.parametrize("command", [["status"], ["worker"]])
def test_a_server_that_can_not_be_reached(command: list[str]) -> None:
    """It does not wait for long, and says what to look at."""
    result = run(*command, "-d", "zeo://127.0.0.1:9", "--wait", 1)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: The server of zeo://127.0.0.1:9 can't be reached")
    assert "--wait tells" in line


def test_a_postgresql_server_that_can_not_be_reached() -> None:
    """The same, and no password is shown."""
    line = refused("status", "-d", "postgres://me:secret@127.0.0.1:9/db")
    assert "The server of postgres://me:***@127.0.0.1:9/db can't be reached" in line
    assert "secret" not in line


def test_a_server_that_goes_away(uri: str, server: Any) -> None:
    """One line tells, if it is gone in between."""
    from lovely.remotetask.cli.access import Wanted, opened
    from lovely.remotetask.cli.database import Where
    from lovely.remotetask.cli.problems import Problem, one_line_errors

    where = Where(f"{uri}?wait_timeout=1")
    with opened(Wanted(where), write=False) as access:
        server.kill()
        wait_until(lambda: not access.db.storage.is_connected())
        with (
            pytest.raises(Problem, match="is lost: does it run"),
            one_line_errors(debug=False),
            access.read() as service,
        ):
            service.count()
    server.start()


@pytest.mark.parametrize("uri", ["nope://x", "file://x?nonsense=1", "zeo://h:port"])
def test_uris_that_make_no_sense(uri: str, tmp_path: Path) -> None:
    """A URI that can't be understood is refused in one line."""
    (tmp_path / "x").touch()
    line = refused("status", "-d", uri)
    assert "--database" in line


def test_zconfig_that_makes_no_sense(tmp_path: Path) -> None:
    """A file of ZConfig that is none, or that there is not."""
    (tmp_path / "bad.conf").write_text("<eventlog>\n</eventlog>\n")
    assert "sections <zodb> alone" in refused("status", "--zconfig", "bad.conf")
    assert "There is no file 'no.conf'" in refused("status", "--zconfig", "no.conf")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///a/b.fs", "file:///a/b.fs"),
        ("zeo://h:1?password=x&storage=2", "zeo://h:1?password=***&storage=2"),
        ("postgres://u:p@h:1/d", "postgres://u:***@h:1/d"),
        (
            "postgres://u:p@h/d?sslmode=a&x_token=b",
            "postgres://u:***@h/d?sslmode=a&x_token=***",
        ),
        ("postgres://u:a/b?c#d@e@[::1/d", "postgres://u:***@[::1/d"),
        ("zeo://h:1?password=a@b", "zeo://h:1?password=***"),
        ("postgres://u:a\nb@h/d", "postgres://u:***@h/d"),
        ("Data.fs", "Data.fs"),
    ],
)
def test_secrets_are_not_shown(uri: str, expected: str) -> None:
    """Of a URI, everything but the secrets is shown."""
    assert shown(uri) == expected


@pytest.mark.parametrize("user", ["u:s3cr3t", "u:s3cr3t/x", "u:s3cr3t?x", "u:s3cr3t#"])
@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1", "127.0.0.1:port"])
def test_secrets_are_in_no_error(user: str, host: str) -> None:
    """Whatever is wrong with a URI, the password is not told, nor in a traceback."""
    result = invoke("--debug", "status", "-d", f"postgres://{user}@{host}/db")
    assert result.exit_code != 0
    told = "".join(traceback.format_exception(result.exception))
    assert "s3cr3t" not in result.output + told


# Services


@contextmanager
def made(path: Path, fill: Callable[[Any], object]) -> Iterator[Path]:
    """A database with something in it."""
    db = ZODB.DB(FileStorage(str(path)))
    with db.transaction() as connection:
        fill(connection.root())
    db.close()
    yield path


def put(container: Any, name: str) -> Any:
    service = container[name] = remotetask.TaskService()
    service.__parent__, service.__name__ = container, name
    return service


def site(root: Any) -> None:
    """Zope's root folder, with a service as a utility of its site."""
    setHooks()
    folder = root["Application"] = rootFolder()
    folder.setSiteManager(LocalSiteManager(folder))
    manager = folder.getSiteManager()
    service = remotetask.TaskService()
    manager["default"]["queue"] = service
    manager.registerUtility(service, ITaskService, "news")


def test_service_of_a_site(tmp_path: Path) -> None:
    """A utility of a site is found by itself, by its name and by its path."""
    with made(tmp_path / "site.fs", site) as path:
        where = f"/++etc++site/default/queue in {path}"
        assert found("-d", path) == where
        assert found("-d", path, "-s", "news") == where
        assert found("-d", path, "-s", "++etc++site/default/queue") == where
        assert found("-d", path, "-s", "queue") == where


def several(root: Any) -> None:
    root["a"] = PersistentMapping()
    root["b"] = PersistentMapping(deeper=PersistentMapping())
    put(root["a"], "tasks")
    put(root["b"]["deeper"], "tasks")
    root["number"], root["text"] = 1, "text"


def test_several_services(tmp_path: Path) -> None:
    """Of several, one has to be named."""
    with made(tmp_path / "several.fs", several) as path:
        line = refused("status", "-d", path)
        assert line.endswith("with --service: /a/tasks, /b/deeper/tasks.")
        assert found("-d", path, "-s", "/a/tasks") == f"/a/tasks in {path}"
        assert found("-d", path, "-s", "b/deeper/tasks").startswith(
            "/b/deeper/tasks in"
        )
        line = refused("status", "-d", path, "-s", "tasks")
        assert "Several services have the name 'tasks'" in line
        line = refused("status", "-d", path, "-s", "/c/tasks")
        assert "no task service at '/c/tasks'. Those found are: /a/tasks, /b/" in line


def test_no_service(empty: Path) -> None:
    """A database without one may be the wrong one."""
    assert "There is no task service in this database" in refused("status", "-d", empty)
    line = refused("status", "-d", empty, "-s", "x")
    assert "no task service at 'x'. None was found." in line


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large database is not searched for ever, and it is told."""

    def large(root: Any) -> None:
        root["first"] = PersistentMapping()
        for number in range(100):
            root["first"][f"n{number:03}"] = PersistentMapping()

    with made(tmp_path / "large.fs", large) as path:
        monkeypatch.setattr(locate, "MOST_OBJECTS", 50)
        line = refused("status", "-d", path)
        assert "among the first 50 objects" in line
        with made(path, lambda root: put(root, "tasks")):
            line = refused("status", "-d", path)
            assert "found so far: /tasks. Give the path" in line
            assert found("-d", path, "-s", "/tasks").startswith("/tasks in")


class Trouble(PersistentMapping):
    """An object of an application that can't be looked into."""

    def items(self) -> Any:
        raise RuntimeError("not now")


def test_objects_that_can_not_be_looked_into(tmp_path: Path) -> None:
    """They are passed over; and circles have an end."""

    def fill(root: Any) -> None:
        root["trouble"] = Trouble()
        root["circle"] = PersistentMapping()
        root["circle"]["circle"] = root["circle"]
        put(root, "tasks")

    with made(tmp_path / "odd.fs", fill) as path:
        assert found("-d", path) == f"/tasks in {path}"


# Tasks


def test_setup_with_the_database(file: Path) -> None:
    """A function that takes an argument is called with the database."""
    before = len(application.CALLS)
    done("tasks", "-d", file, "--setup", "tests.cli.application:with_database")
    assert len(application.CALLS) == before + 1
    assert isinstance(application.CALLS.pop(), ZODB.DB)


def test_setup_in_the_current_directory(file: Path) -> None:
    """A module is found in the current directory; to import it may be enough."""
    (file.parent / "local_tasks.py").write_text(
        "from lovely import remotetask\n"
        "@remotetask.task('local')\n"
        "def local(input):\n    '''It is here.'''\n"
    )
    output = done("tasks", "-d", file, "--setup", "local_tasks")
    assert "local   SimpleTask  It is here." in output


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("no.such.module", "'no.such.module' can't be imported: No module named 'no'"),
        ("tests.cli.application:nope", "has no function 'nope'"),
        ("tests.cli.application:CALLS", "has no function 'CALLS'"),
        ("tests.cli.application:broken", "failed: RuntimeError: no such luck."),
        ("broken_module", "--setup broken_module failed: ZeroDivisionError"),
    ],
)
def test_setup_that_fails(file: Path, setup: str, expected: str) -> None:
    """What goes wrong there is one line; with --debug, its traceback comes before."""
    (file.parent / "broken_module.py").write_text("1 / 0\n")
    line = refused("tasks", "-d", file, "--setup", setup)
    assert expected in line
    result = invoke("--debug", "tasks", "-d", file, "--setup", setup)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, line)
    assert ("Traceback" in result.stderr) == ("has no function" not in expected)


def test_zcml(file: Path) -> None:
    """Tasks are registered by ZCML, which includes files beside it."""
    (file.parent / "site.zcml").write_text(
        '<configure xmlns="http://namespaces.zope.org/zope">\n'
        '  <include package="zope.component" file="meta.zcml" />\n'
        '  <include file="more.zcml" />\n'
        "</configure>\n"
    )
    (file.parent / "more.zcml").write_text(
        '<configure xmlns="http://namespaces.zope.org/zope">\n'
        '  <utility name="by-zcml" factory="lovely.remotetask.task.EchoTask"\n'
        '    provides="lovely.remotetask.interfaces.ITask" />\n'
        "</configure>\n"
    )
    found = json.loads(done("tasks", "-d", file, "--zcml", "site.zcml", "--json"))
    assert "by-zcml" in {task["name"] for task in found}


@pytest.mark.parametrize("text", ["<configure", "<configure><nope /></configure>"])
def test_bad_zcml(file: Path, text: str) -> None:
    """ZCML that can't be read is told in one line."""
    (file.parent / "bad.zcml").write_text(text)
    assert "--zcml bad.zcml: " in refused("tasks", "-d", file, "--zcml", "bad.zcml")
    assert "--zcml no.zcml: " in refused("tasks", "-d", file, "--zcml", "no.zcml")


def test_postgresql_without_relstorage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library it says what to install, and no password."""
    import sys

    monkeypatch.delitem(sys.modules, "lovely.remotetask.cli.postgres")
    monkeypatch.delattr("lovely.remotetask.cli.postgres")
    monkeypatch.setitem(sys.modules, "relstorage.zodburi_resolver", None)
    line = refused("status", "-d", "postgres://me:secret@h/d")
    assert "pip install 'lovely.remotetask[postgresql]'" in line
    assert "secret" not in line


def test_zcml_without_zope(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Zope's library it says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "zope.configuration", None)
    line = refused("tasks", "-d", file, "--zcml", "site.zcml")
    assert "pip install 'lovely.remotetask[zope]'" in line
    transaction.abort()
