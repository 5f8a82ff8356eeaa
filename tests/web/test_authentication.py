"""Who is let in."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyramid.httpexceptions import HTTPFound
from webtest import TestApp

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.web import BasicAuthentication, make_app, password, remote_user
from lovely.remotetask.web.authentication import FORWARDED, MOST_WRONG, PAUSE, hashed
from tests.support import Clocks
from tests.web.support import dashboard, password_file

PATHS = [
    "/",
    "/jobs",
    "/jobs/1",
    "/queue",
    "/schedule",
    "/workers",
    "/bulk",
    "/static/x",
]
API_PATHS = ["/api/v1/status", "/api/v1/jobs", "/api/v1/openapi.json"]


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """A file with one name."""
    file: Path = password_file(tmp_path / "passwords", eva="a pass:word")
    return file


@pytest.fixture
def guarded(db: Any, service: Any, passwords: Path) -> TestApp:
    """A dashboard that asks for a password."""
    return dashboard(db, authentication=BasicAuthentication(passwords))


@pytest.mark.parametrize("address", [*PATHS, *API_PATHS])
def test_nobody_is_asked_who_they_are(guarded: TestApp, address: str) -> None:
    """Without a password nothing is shown, of any page."""
    response = guarded.get(address, status=401)
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    problem = response.content_type == "application/problem+json"
    assert problem is address.startswith("/api/")
    assert "queued" not in response.text.lower()


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_health_is_open(guarded: TestApp, address: str) -> None:
    """Who watches the process needs no password, and learns nothing of jobs."""
    assert set(guarded.get(address).json) == {"status"}


@pytest.mark.parametrize(
    ("name", "secret", "status"),
    [
        ("eva", "a pass:word", 200),
        ("eva", "another", 401),
        ("eva", "", 401),
        ("adam", "a pass:word", 401),
        ("", "", 401),
        ("eva", "x" * 5000, 401),
    ],
)
def test_passwords(guarded: TestApp, name: str, secret: str, status: int) -> None:
    """Only the right password of a known name is good, again and again."""
    guarded.authorization = ("Basic", (name, secret))
    for _ in range(2):
        response = guarded.get("/", status=status)
    assert (f'title="Signed in as {name}"' in response.text) is (status == 200)


def test_passwords_can_not_be_tried_for_ever(
    db: Any, service: Any, passwords: Path
) -> None:
    """After many wrong ones, who was let in stays, and others wait, and can again."""
    password_file(passwords, eva="a pass:word", adam="another")
    clocks = Clocks()
    app = dashboard(db, authentication=BasicAuthentication(passwords, clocks))

    def ask(name: str, secret: str, status: int) -> Any:
        app.authorization = ("Basic", (name, secret))
        return app.get("/", status=status)

    for _ in range(MOST_WRONG + 1):
        ask("eva", "a pass:word", 200)  # the right one costs nothing
    for _ in range(MOST_WRONG):
        ask("eva", "wrong", 401)
    ask("eva", "a pass:word", 200)
    refused = ask("adam", "another", 429)
    assert int(refused.headers["Retry-After"]) == math.ceil(PAUSE)
    clocks.advance(PAUSE)
    ask("adam", "another", 200)
    ask("eva", "wrong", 401)
    ask("eva", "wrong", 429)
    app.get("/api/v1/status", status=429)


def test_a_file_that_is_gone(
    guarded: TestApp, passwords: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If it can't be read again, nobody is let in, nor told where it was."""
    guarded.authorization = ("Basic", ("eva", "a pass:word"))
    guarded.get("/")
    kept = passwords.read_text()
    passwords.unlink()
    assert str(passwords) not in guarded.get("/", status=503)
    assert str(passwords) in caplog.text
    passwords.write_text("eva:", encoding="utf-8")
    assert "eva" not in guarded.get("/api/v1/status", status=503)
    passwords.write_text(kept, encoding="utf-8")
    guarded.get("/")


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic !!", "Basic ZXZh", "Bearer x", "Basic /w==", "Basic ZTpcAA=="],
)
def test_broken_headers(guarded: TestApp, header: str) -> None:
    """What is no name and password is nobody's."""
    guarded.get("/", headers={"Authorization": header}, status=401)


def test_a_file_is_read_again(guarded: TestApp, passwords: Path) -> None:
    """A password that is taken out of the file is good no longer."""
    guarded.authorization = ("Basic", ("eva", "a pass:word"))
    guarded.get("/")
    password_file(passwords, adam="other")
    os.utime(passwords, (1, 1))
    guarded.get("/", status=401)


@pytest.mark.parametrize(
    "line", ["eva", "eva:plain", "eva:{SHA}abc", ":$2b$12$abc", "eva:$2b$12$short", ""]
)
def test_bad_files(tmp_path: Path, line: str) -> None:
    """A file with a line that nobody could log in with is refused."""
    path = tmp_path / "passwords"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(InvalidArgument, match="file of passwords"):
        BasicAuthentication(path)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(InvalidArgument, match="nowhere"):
        BasicAuthentication(tmp_path / "nowhere")


@pytest.mark.parametrize("secret", ["", "x" * 73, "a\0b"])
def test_passwords_that_would_not_be_checked(secret: str) -> None:
    """A password that bcrypt would cut or refuse is refused at once."""
    with pytest.raises(InvalidArgument, match="password"):
        hashed(secret)


def test_the_hook_names_who_asks(db: Any, service: Any) -> None:
    """An application's own policy says who it is, and may send them elsewhere."""

    def policy(request: Any) -> str | None:
        if "login" in request.GET:
            raise HTTPFound("https://example.com/login")
        return request.GET.get("name")

    app = dashboard(db, authentication=policy)
    assert "Signed in as eva" in app.get("/?name=eva")
    app.get("/", status=403)
    assert app.get("/?login=", status=302).location == "https://example.com/login"


def test_whom_the_server_knows(db: Any, service: Any) -> None:
    """REMOTE_USER of the application in front is taken, and no header's."""
    app = dashboard(db, authentication=remote_user)
    app.get("/", headers={"Remote-User": "eva"}, status=403)
    assert "Signed in as eva" in app.get("/", extra_environ={"REMOTE_USER": "eva"})


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("127.0.0.1", "localhost:8080", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("::1", "[::1]:8080", 200),
        ("127.0.0.1", "evil.example", 403),
        ("127.0.0.1", "localhost.evil.example", 403),
        ("10.0.0.7", "localhost", 403),
        ("", "localhost", 403),
        ("nonsense", "localhost", 403),
    ],
)
def test_without_a_policy_it_is_local(
    db: Any, service: Any, address: str, host: str, status: int
) -> None:
    """Without one, only this machine is let in, by a name of its own."""
    app = TestApp(make_app(db, "service"), extra_environ={"REMOTE_ADDR": address})
    app.get("/", headers={"Host": host}, status=status)


@pytest.mark.parametrize("header", FORWARDED)
def test_a_server_in_front_is_not_local(db: Any, service: Any, header: str) -> None:
    """What a server at this machine passes on is not taken for this machine's."""
    app = dashboard(db)
    app.get("/")
    app.get("/", headers={header: "10.0.0.7"}, status=403)


def test_who_may_change(db: Any, service: Any) -> None:
    """Who may change jobs can depend on who asks."""
    service.add("echo")
    app = dashboard(
        db,
        authentication=remote_user,
        allow_changes=lambda user: user == "eva",
    )
    assert "Read-only" in app.get("/", extra_environ={"REMOTE_USER": "adam"})
    assert "Read-only" not in app.get("/", extra_environ={"REMOTE_USER": "eva"})


def test_the_command_makes_a_line(tmp_path: Path) -> None:
    """What the command prints is a line of the file."""
    run = subprocess.run(
        [sys.executable, "-m", "lovely.remotetask.web.password", "eva"],
        input="word\n",
        capture_output=True,
        text=True,
        check=True,
    )
    path = tmp_path / "passwords"
    path.write_text(run.stdout, encoding="utf-8")
    policy = BasicAuthentication(path)
    assert policy._is_right("eva", b"word")
    assert not policy._is_right("eva", b"ward")


@pytest.mark.parametrize(
    ("arguments", "line"), [([], "x"), (["a:b"], "x"), (["a"], "")]
)
def test_the_command_refuses(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    """Without a name, or without a password, there is no line."""
    monkeypatch.setattr("sys.stdin", io.StringIO(line + "\n"))
    assert password.main(arguments) == 2


@pytest.mark.parametrize(("second", "status"), [("word", 0), ("ward", 2)])
def test_the_password_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, second: str, status: int
) -> None:
    """At a terminal, it is given twice, so that it is what was meant."""
    given = iter(["word", second])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(given))
    assert password.main(["eva"]) == status
