"""A PostgreSQL server of one's own, with nothing in it, that nobody else can reach.

It listens on a Unix socket in a folder that only its user may enter.  As root it
runs as another user, for PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from tests.programs import PATIENCE, Program

#: It stops the server and removes all when its input ends, however that comes.
GUARD = """
import json, os, shutil, subprocess, sys
os.setsid()  # not to be ended together with the tests
print("ready", flush=True)
pg_ctl, directory, user = sys.argv[1:]
sys.stdin.read()
stop = [pg_ctl, "stop", "-D", directory + "/data", "-m", "immediate", "-s"]
subprocess.run(stop, cwd="/", stderr=subprocess.DEVNULL, **json.loads(user))
shutil.rmtree(directory)
"""

#: What is written is safe from a kill of the server, not from one of the machine.
QUICK = ["fsync = off", "full_page_writes = off"]


def binaries() -> Path | None:
    """The folder of the newest server that is installed, or None."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    complete = [folder for folder in folders if (folder / "pg_ctl").exists()]
    return max(complete, key=_version, default=None)


def _version(folder: Path) -> int:
    number = re.search(r"/(\d+)/bin$", str(folder))
    return int(number[1]) if number else 0


def _user() -> str:
    """Who runs the server."""
    if os.getuid():
        return pwd.getpwuid(os.getuid()).pw_name
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class Cluster:
    """A server, running; `close` stops it and removes what it has written."""

    def __init__(self, *, durable: bool = False) -> None:
        """With ``durable``, commits are as safe as PostgreSQL has them by default.

        Raise LookupError if no server is installed.
        """
        folder = binaries()
        if folder is None:
            raise LookupError("There is no PostgreSQL server here.")
        self._binaries = folder
        self._names = (f"test{number}" for number in itertools.count(1))
        self._directory = tempfile.mkdtemp(prefix="pg-")
        self._as: dict[str, Any] = {}
        if not os.getuid():
            user = pwd.getpwnam(_user())
            os.chown(self._directory, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        stop = [str(folder / "pg_ctl"), self._directory, json.dumps(self._as)]
        self._guard = Program("-c", GUARD, *stop)
        try:
            assert self._guard.line() == "ready"
            self._create(durable)
            self._control("start")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server at once, and remove everything."""
        self._guard.close()

    def restart(self, mode: str = "immediate") -> None:
        """Stop and start it; ``immediate`` is as if it had crashed."""
        self._control("restart", "-m", mode)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; it can be started again."""
        self._control("stop", "-m", mode)

    def start(self) -> None:
        """Start it again."""
        self._control("start")

    def create(self) -> str:
        """Make an empty database; how to connect to it."""
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name}")
        return self._dsn(name)

    def drop(self, dsn: str) -> None:
        """Remove a database, whoever uses it."""
        name = re.search(r"dbname=(\w+)", dsn)
        assert name is not None
        self._execute(f"DROP DATABASE {name[1]} WITH (FORCE)")

    def _dsn(self, name: str) -> str:
        return f"dbname={name} user=postgres host={self._directory}"

    def _execute(self, statement: str) -> None:
        with closing(psycopg2.connect(self._dsn("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def _create(self, durable: bool) -> None:
        data = f"{self._directory}/data"
        options = ["--auth=trust", "--username=postgres", "--no-sync"]
        self._run("initdb", "-D", data, *options, "--locale=C", "--encoding=UTF8")
        settings = [
            "listen_addresses = ''",
            f"unix_socket_directories = '{self._directory}'",
            "max_connections = 200",
            *([] if durable else QUICK),
        ]
        with (Path(data) / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n".join(["", *settings, ""]))

    def _control(self, *words: str) -> None:
        log = f"{self._directory}/log"
        self._run("pg_ctl", "-D", f"{self._directory}/data", "-l", log, "-w", *words)

    def _run(self, name: str, *arguments: str) -> None:
        """Run one of the server's programs, as its user."""
        with tempfile.TemporaryFile() as output:
            # A file, for the server keeps what pg_ctl was given to write to.
            done = subprocess.run(
                [self._binaries / name, *arguments],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=2 * PATIENCE,
                check=False,
                **self._as,
            )
            output.seek(0)
            assert not done.returncode, output.read().decode()


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A server that runs as long as the block."""
    running = Cluster(durable=durable)
    try:
        yield running
    finally:
        running.close()
