"""``remotetask dashboard``, and the metrics of a worker: what is served over HTTP."""

from __future__ import annotations

import base64
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import bcrypt
import pytest

from tests.cli.commands import SETUP, refused, started
from tests.support import wait_until


def get(url: str) -> str:
    """A page."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


@pytest.fixture
def port() -> int:
    """A port that is free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


def test_dashboard(uri: str, tmp_path: Path) -> None:
    """It says where it is, shows the jobs, and ends when it is told to."""
    log = tmp_path / "log"
    shown = ["--mask", "^n$", "--metrics", "--title", "Evening", "--refresh", 9]
    with started(log, "dashboard", "-d", uri, *SETUP, "--port", 0, *shown) as running:
        found = wait_until(
            lambda: re.search(r"^(http://\S+) shows /tasks", running.log)
        )
        page = get(f"{found[1]}jobs/2")
        assert "no [red]luck[/red]" in page
        assert "Evening</title>" in page
        assert "Updates every 9 s" in get(found[1])
        assert get(f"{found[1]}api/v1/jobs/1").count('"n": "********"') == 2
        assert 'remotetask_up{service="tasks"} 1.0' in get(f"{found[1]}metrics")
        assert running.end(signal.SIGTERM) == 0, running.log
    assert "Traceback" not in running.log


def test_dashboard_for_users(uri: str, tmp_path: Path) -> None:
    """With a file of users, only they are let in."""
    users = tmp_path / "users"
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    users.write_text(f"eva:{hashed}\n")
    words = ["dashboard", "-d", uri, *SETUP, "--port", 0, "--users", users]
    with started(tmp_path / "log", *words) as running:
        found = wait_until(
            lambda: re.search(r"^(http://\S+) shows /tasks", running.log)
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(found[1])
        token = base64.b64encode(b"eva:secret").decode()
        asked = urllib.request.Request(
            f"{found[1]}jobs/2", headers={"Authorization": f"Basic {token}"}
        )
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert "no [red]luck[/red]" in answer.read().decode()
        assert running.end(signal.SIGTERM) == 0, running.log


def test_dashboard_with_bad_users(file: Path, tmp_path: Path) -> None:
    """A file that holds no passwords is refused."""
    users = tmp_path / "users"
    users.write_text("eva:secret\n")
    assert "bcrypt" in refused("dashboard", "-d", file, "--users", users)


def test_dashboard_for_others(file: Path) -> None:
    """It is served on this machine alone."""
    line = refused("dashboard", "-d", file, "--host", "0.0.0.0")
    assert "others can reach '0.0.0.0'" in line


def test_dashboard_without_its_extra(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the libraries it says what to install."""
    for name in [
        name for name in sys.modules if name.startswith("lovely.remotetask.web")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyramid.config", None)
    line = refused("dashboard", "-d", file)
    assert "pip install 'lovely.remotetask[web]'" in line


def test_dashboard_with_a_bad_mask(file: Path) -> None:
    """What is no regular expression is refused."""
    assert "mask: " in refused("dashboard", "-d", file, "--mask", "(")


def test_metrics_of_a_worker(uri: str, tmp_path: Path, port: int) -> None:
    """With --metrics-port a worker shows its metrics."""
    options = ["--metrics-port", port]
    with started(tmp_path / "log", "worker", "-d", uri, *SETUP, *options) as running:
        wait_until(lambda: "is ready" in running.log or running.process.poll())
        text = get(f"http://127.0.0.1:{port}/metrics")
        assert 'task="echo"' in text or 'status="completed"' in text
        assert running.end(signal.SIGTERM) == 0, running.log


def test_a_port_that_is_taken(file: Path) -> None:
    """It is named."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = refused("worker", "-d", file, *SETUP, "--metrics-port", port)
    assert f"--metrics-port: 127.0.0.1:{port} can't be used: address" in line


@pytest.mark.parametrize(
    "words", [["worker", "--metrics-port", 9], ["dashboard", "--metrics"]]
)
def test_metrics_without_their_extra(
    file: Path, monkeypatch: pytest.MonkeyPatch, words: list[object]
) -> None:
    """Without the library it says what to install."""
    monkeypatch.delitem(sys.modules, "lovely.remotetask.metrics", raising=False)
    import lovely.remotetask

    monkeypatch.delattr(lovely.remotetask, "metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    line = refused(*words, "-d", file, *SETUP)
    assert "pip install 'lovely.remotetask[metrics]'" in line
    assert "[metrics]" in refused("dashboard", "-d", file, "--metrics")
