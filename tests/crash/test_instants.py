"""Processes, and a ZEO server, that are killed at random instants.

To kill more than are killed every day::

    REMOTETASK_KILLS=5000 python -m pytest tests/crash
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.crash.actors import crashes
from tests.crash.crowd import crowd
from tests.crash.jobs import register_tasks
from tests.crash.kills import KILLS, TIMEOUT
from tests.crash.lives import judge, opened
from tests.crash.server import server
from tests.storages import store
from tests.support import ask

pytestmark = TIMEOUT

#: How many kills of all, by storage, and who is there to be killed.
SHARES = {"FileStorage": 0.4, "ZEO": 0.2, "SQLite": 0.1, "PostgreSQL": 0.1}
TOGETHER = ("produce", "produce", "work", "work")
ALONE = ("produce work",)
#: What the server is killed for.
SERVER_SHARE = 0.2

#: A process lives for so long after it has begun, at most (seconds).
LONGEST = 0.15
#: So many are killed on one service, before all that it has is finished.
ROUND = 5


@pytest.mark.parametrize("kind", SHARES)
def test_killed_at_any_instant(kind: str, tmp_path: Path) -> None:
    """Whoever is killed when: what was reported is there, and is done once."""
    register_tasks()
    chance = random.Random(kind)
    kills = round(KILLS * SHARES[kind])
    with store(kind, tmp_path) as address:
        for first in range(0, kills, ROUND):
            with crowd(address, str(first), chance) as found:
                for role in ALONE if kind == "FileStorage" else TOGETHER:
                    found.join(role)
                for _ in range(min(ROUND, kills - first)):
                    role = found.kill_one(LONGEST)
                    with opened(address) as db:
                        ask(db, found.check, found.name)
                    found.join(role)
                found.end()
                with opened(address) as db:
                    ask(db, found.check_all, found.name)
                    judge(db, found.name, found.added)


@pytest.mark.zeo
def test_server_killed_at_any_instant(tmp_path: Path) -> None:
    """Who uses it goes on when it is there again; no job is held for a crash."""
    register_tasks()
    chance = random.Random("server")
    kills = round(KILLS * SERVER_SHARE)
    with server(str(tmp_path / "Data.fs")) as found:
        for first in range(0, kills, ROUND):
            with crowd(found.address, str(first), chance) as users:
                for role in TOGETHER:
                    users.join(role)
                for _ in range(min(ROUND, kills - first)):
                    time.sleep(chance.uniform(0, LONGEST))
                    found.restart()
                    with opened(found.address) as db:
                        ask(db, users.check, users.name)
                users.end()
                with opened(found.address) as db:
                    ask(db, users.check_all, users.name)
                    judge(db, users.name, users.added)
                    assert ask(db, crashes, users.name) == 0
