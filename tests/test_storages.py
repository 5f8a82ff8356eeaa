"""The storages that the tests run over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from relstorage.storage import RelStorage

from tests import storages
from tests.postgresql import cluster
from tests.programs import ROOT, program
from tests.storages import KINDS, SHARED, need, open_database, store, zeo_server
from tests.support import wait_until

#: What another process does with a store.
PUT = """
import sys
from tests.storages import open_database
db = open_database(sys.argv[1])
with db.transaction() as connection:
    connection.root()["there"] = "put"
db.close()
"""


def put(address: str, value: object) -> None:
    """Commit a value to a store's root."""
    db = open_database(address)
    with db.transaction() as connection:
        connection.root()["there"] = value
    db.close()


def got(address: str) -> Any:
    """The value in a store's root."""
    db = open_database(address)
    with db.transaction() as connection:
        value = connection.root().get("there")
    db.close()
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_is_new_and_keeps_what_is_committed(kind: str, tmp_path: Path) -> None:
    """Each store is empty, apart from all others, and there until its end."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with store(kind, tmp_path / name) as address:
            assert address.startswith(f"{kind}:")
            assert got(address) is None
            put(address, name)
            assert got(address) == name


@pytest.mark.parametrize("kind", SHARED)
def test_another_process_may_use_it(kind: str, tmp_path: Path) -> None:
    """A store is found by its address, while it is open here too."""
    with store(kind, tmp_path) as address:
        db = open_database(address)
        with program("-c", PUT, address) as other:
            assert other.finish() == 0
        with db.transaction() as connection:
            assert connection.root()["there"] == "put"
        db.close()


def test_history(tmp_path: Path) -> None:
    """RelStorage is tested with a history and without one."""
    kept = {}
    for kind in ("SQLite", "PostgreSQL"):
        with store(kind, tmp_path) as address:
            db = open_database(address)
            assert isinstance(db.storage, RelStorage)
            kept[kind] = db.supportsUndo()
            db.close()
    assert kept == {"SQLite": False, "PostgreSQL": True}


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_zeo_server_comes_back(tmp_path: Path, end: str) -> None:
    """What was committed is there again, at the same address."""
    with zeo_server(str(tmp_path / "Data.fs")) as server:
        address = server.address
        put(address, 1)
        getattr(server, end)()
        server.start()
        assert server.address == address
        assert got(address) == 1


def test_a_cluster_comes_back() -> None:
    """A server that was stopped as if by a crash has what was committed."""
    need("PostgreSQL")
    with cluster() as server:
        address = f"PostgreSQL:{server.create()}"
        put(address, 1)
        server.restart()
        assert got(address) == 1
        put(address, 2)
        server.stop()
        server.start()
        assert got(address) == 2


def test_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no server is installed, a test is skipped; where CI is set, it fails."""
    monkeypatch.setattr(storages, "binaries", lambda: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Debian package postgresql"):
        store("PostgreSQL", "")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Debian package postgresql"):
        store("PostgreSQL", "")


#: A cluster, until the process is ended by force, with all of its group.
HOLD = """
import sys
from tests.postgresql import Cluster
cluster = Cluster()
print(cluster.create().rpartition("=")[2], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_cluster_does_not_outlive_its_process(number: int) -> None:
    """However a process is ended, its server ends too, and its files go."""
    need("PostgreSQL")
    command = [sys.executable, "-c", HOLD]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, cwd=ROOT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        assert (directory / "data" / "postmaster.pid").exists()
        os.killpg(process.pid, number)
        process.wait(30)
    wait_until(lambda: not directory.exists(), 30)
