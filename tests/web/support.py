"""What tests of the dashboard need."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import bcrypt
import transaction
from webtest import TestApp

from lovely.remotetask.web import make_app

#: Who sits at the machine.
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}

#: What a change over the API needs.
HEADERS = {"X-Requested-With": "tests"}


def dashboard(db: Any, path: str = "service", **arguments: Any) -> TestApp:
    """The dashboard of a service, called in this process."""
    return TestApp(make_app(db, path, **arguments), extra_environ=dict(LOCAL))


def api(app: TestApp, method: str, path: str, body: Any = None, **more: Any) -> Any:
    """What the API answers to a change."""
    params = b"" if body is None else json.dumps(body).encode()
    return app.request(
        f"/api/v1{path}",
        method=method,
        body=params,
        headers=HEADERS,
        content_type="application/json",
        **more,
    )


def token_of(app: TestApp) -> str:
    """The token that forms have; its cookie is set as well."""
    form = app.get("/").forms
    return str(next(iter(form.values()))["csrf_token"].value)


def run_all(service: Any) -> None:
    """Run what is due, here, and commit."""
    service.process()
    transaction.commit()


def password_file(path: Any, **passwords: str) -> Any:
    """A file of names and passwords; it."""
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
        for name, password in passwords.items()
    ]
    path.write_text("# who may look\n\n" + "".join(lines), encoding="utf-8")
    return path


class Outline(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}
