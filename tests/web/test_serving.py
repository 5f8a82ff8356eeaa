"""The dashboard on its own, and what it refuses."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.web import BasicAuthentication, create_server, serve
from lovely.remotetask.web.security import LONGEST_BODY
from lovely.remotetask.web.serving import is_local
from tests.web.support import password_file


def get(address: str) -> str:
    """What a server answers."""
    with urllib.request.urlopen(address, timeout=20) as response:
        text: str = response.read().decode()
        return text


def test_serve(db: Any, service: Any) -> None:
    """It says where it is, answers, and ends when it is interrupted."""
    texts: list[str] = []
    asking: list[threading.Thread] = []

    def ask(address: str) -> None:
        texts.append(get(address))
        # As the system does for Ctrl-C.
        signal.raise_signal(signal.SIGINT)

    def ready(address: str) -> None:
        asking.append(threading.Thread(target=ask, args=[address]))
        asking[0].start()

    # Waitress ends its server when it is interrupted.
    serve(db, "service", port=0, ready=ready)
    asking[0].join()
    assert "No worker is running" in texts[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_stop(db: Any, service: Any, host: str) -> None:
    """Another thread can end it; nothing stays open."""
    server = create_server(db, "service", host=host, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert "Overview" in get(server.address)
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_what_is_sent_to_it(db: Any, service: Any) -> None:
    """It sees that a server in front has passed a request on; bodies are bounded."""
    server = create_server(db, "service", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for headers, body, status in (
            ({"X-Forwarded-For": "10.0.0.7"}, None, 403),
            ({}, b"x" * (LONGEST_BODY + 1), 413),
            ({"Content-Length": str(3 * LONGEST_BODY)}, b"x", 413),
        ):
            asked = urllib.request.Request(server.address + "live", body, headers)
            with pytest.raises(urllib.error.HTTPError) as found:
                urllib.request.urlopen(asked, timeout=20)
            with found.value as answer:
                assert answer.code == status
    finally:
        server.stop()
        thread.join(20)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1"])
def test_only_this_machine_without_a_policy(db: Any, host: str) -> None:
    """Without an authentication, nothing that others can reach is bound."""
    with pytest.raises(InvalidArgument, match="authentication"):
        create_server(db, "service", host=host, port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.8.8"])
def test_this_machine(host: str) -> None:
    """Addresses and names of this machine's own are its own."""
    assert is_local(host)


def test_an_unknown_host(db: Any) -> None:
    """A name that nobody knows is named."""
    with pytest.raises(InvalidArgument, match="nowhere"):
        create_server(db, "service", host="nowhere.invalid", port=0)


def test_with_a_policy_others_may_come(db: Any, service: Any, tmp_path: Path) -> None:
    """With one, any address can be bound; who asks has to say who they are."""
    file = password_file(tmp_path / "passwords", eva="word")
    policy = BasicAuthentication(file)
    server = create_server(db, "service", host="0.0.0.0", port=0, authentication=policy)
    try:
        assert server.address.startswith("http://0.0.0.0:")
    finally:
        server.close()


def test_a_port_that_is_taken(
    db: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which address it is."""

    def taken(*args: Any, **options: Any) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr("waitress.create_server", taken)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:8080"):
        create_server(db, "service")


WITHOUT = """
import sys
sys.modules[{module!r}] = None
try:
    import lovely.remotetask.web
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("module", ["pyramid", "jinja2", "waitress", "bcrypt"])
def test_what_is_not_installed(module: str) -> None:
    """Without one of its libraries, it says how to install them."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("NotInstalled The dashboard needs a library")
    assert "lovely.remotetask[web]" in run.stdout
