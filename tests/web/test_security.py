"""Nothing is changed without leave, and nothing that is shown can do harm."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
import transaction
from webtest import TestApp

from lovely import remotetask
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.web.operations import OPERATIONS
from lovely.remotetask.web.verbs import VERBS
from tests.support import processing, register, wait_until
from tests.web.support import HEADERS, LOCAL, Outline, dashboard, run_all, token_of

#: Every form, with what it sends.
FORMS = [
    *((f"/jobs/1/{verb}", {}) for verb in VERBS),
    ("/bulk", {"verb": "retry", "ids": "1"}),
    ("/live", {"live": "off"}),
]

#: Every change over the API.
CHANGES = [
    (operation.method, operation.path.replace("{id}", "1"))
    for operation in OPERATIONS
    if operation.changes
]
BODIES = {
    "/jobs": b'{"task": "echo"}',
    "/bulk": b'{"verb": "retry", "ids": [1]}',
    "/clean": b'{"status": ["error"]}',
}

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{7*7}}${7*7}\0\u202e"
)


@pytest.fixture
def failed(service: Any) -> Any:
    """A service with one job, which has failed."""
    service.add("fail")
    run_all(service)
    return service


@pytest.fixture
def app(db: Any, failed: Any) -> TestApp:
    """A dashboard on which jobs can be changed."""
    return dashboard(db, allow_changes=True, tasks=["echo"])


@pytest.fixture
def unchanged(failed: Any) -> Any:
    """After the test, nothing has been committed."""
    before = failed._p_jar.db().lastTransaction()
    yield
    assert failed._p_jar.db().lastTransaction() == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("address", "fields"), FORMS)
@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_forms_need_a_token(
    app: TestApp, address: str, fields: dict[str, str], token: str | None
) -> None:
    """Without the token, or with another, a form is refused and does nothing."""
    token_of(app)
    given = fields if token is None else {**fields, "csrf_token": token}
    assert "Go back and try again" in app.post(address, given, status=403)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("address", "fields"), FORMS)
def test_a_token_needs_its_cookie(
    app: TestApp, address: str, fields: dict[str, str]
) -> None:
    """A token is good with the cookie that came with it only."""
    token = token_of(app)
    app.reset()
    app.post(address, {**fields, "csrf_token": token}, status=403)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("address", "fields"), FORMS[:-1])
def test_read_only_forms(
    db: Any, failed: Any, address: str, fields: dict[str, str]
) -> None:
    """Where nothing may be changed, even with the token no form does anything."""
    app = dashboard(db)
    token = token_of(app)
    page = app.post(address, {**fields, "csrf_token": token}, status=403)
    assert "can be looked at" in page
    app.get(address, status=(403, 404))


#: What is in the addresses of routes, and what else requests may need.
PARTS = {"id": "1", "verb": "retry", "subpath": "dashboard.css"}
FIELDS = {"verb": "retry", "ids": "1", "live": "off"}
METHODS = ("POST", "PUT", "PATCH", "DELETE")


def routes(app: TestApp) -> set[str]:
    """The patterns of all addresses that the application knows, from itself."""
    found = app.app.registry.introspector.get_category("routes")
    return {str(entry["introspectable"]["pattern"]) for entry in found}


def addresses(app: TestApp) -> list[tuple[str, str]]:
    """Each pattern, with an address that it has."""
    hole = re.compile(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}|\*(\w+)")
    return [
        (pattern, "/" + hole.sub(lambda m: PARTS[m[1] or m[2]], pattern).lstrip("/"))
        for pattern in sorted(routes(app))
    ]


def tried(app: TestApp, *, token: bool) -> dict[tuple[str, str], int]:
    """What comes of each method of each address that could change anything."""
    given = {"csrf_token": token_of(app)} if token else {}
    found = {}
    for pattern, address in addresses(app):
        if pattern.startswith("/api/"):
            body = BODIES.get(address.removeprefix("/api/v1"), b"")
            sent = {"content_type": "application/json", "body": body}
        else:
            fields = urlencode({**FIELDS, **given}).encode()
            sent = {"content_type": "application/x-www-form-urlencoded", "body": fields}
        for method in METHODS:
            answer = app.request(
                address,
                method=method,
                headers=HEADERS if token else {},
                status="*",
                **sent,
            )
            found[method, pattern] = answer.status_code
    return found


def test_every_change_is_tried(app: TestApp) -> None:
    """What can be changed is what the tests here try, of all that there is."""
    possible = {
        key
        for key, status in tried(app, token=True).items()
        if status not in {404, 405}
    }
    forms = {
        ("POST", re.sub("^/jobs/1/.*", "/jobs/{id:[0-9]{1,18}}/{verb}", address))
        for address, _ in FORMS
    }
    changes = {
        (
            operation.method,
            "/api/v1" + operation.path.replace("{id}", "{id:[0-9]{1,18}}"),
        )
        for operation in OPERATIONS
        if operation.changes
    }
    assert possible == forms | changes


@pytest.mark.usefixtures("unchanged")
def test_nothing_without_a_token(app: TestApp) -> None:
    """No method of any address does anything without a token, or the API's header."""
    assert set(tried(app, token=False).values()) <= {403, 404, 405}


@pytest.mark.usefixtures("unchanged")
def test_nothing_where_nothing_may_be_changed(db: Any, failed: Any) -> None:
    """Nor on a dashboard that only shows, with both; but for what is a cookie's."""
    found = tried(dashboard(db, tasks=["echo"]), token=True)
    assert found.pop(("POST", "/live")) == 303
    assert set(found.values()) <= {403, 404, 405}


@pytest.mark.usefixtures("unchanged")
def test_nothing_for_nobody(db: Any, failed: Any) -> None:
    """Who is nobody is refused at every address, by every method; not so health."""
    app = dashboard(
        db, allow_changes=True, authentication=lambda request: None, metrics=metrics
    )
    for pattern, address in addresses(app):
        for method in ("GET", *METHODS):
            answer = app.request(address, method=method, headers=HEADERS, status="*")
            if pattern in {"/healthz", "/readyz"}:
                assert answer.status_code in {200, 403}, (method, address)
            else:
                assert answer.status_code == 403, (method, address)


def metrics(environ: Any, start_response: Any) -> Any:
    """An application that shows something."""
    raise AssertionError("nobody is to see it")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:99"},
        {"Origin": "http://[localhost"},
    ],
)
@pytest.mark.parametrize("address", ["/jobs/1/retry", "/api/v1/jobs/1/retry"])
def test_other_sites_change_nothing(
    app: TestApp, headers: dict[str, str], address: str
) -> None:
    """What a browser sends for another site's page is refused, whatever it has."""
    given = {"csrf_token": token_of(app)}
    app.post(address, given, headers={**HEADERS, **headers}, status=403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://proxied.example"},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:80"},
        {},
    ],
)
def test_its_own_pages_do(app: TestApp, failed: Any, headers: dict[str, str]) -> None:
    """What comes from the dashboard's own pages is done."""
    token = token_of(app)
    app.post("/jobs/1/retry", {"csrf_token": token}, headers=headers, status=303)
    transaction.begin()
    assert failed.getStatus(1) == "queued"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("method", "address"), CHANGES)
def test_the_api_needs_its_header(app: TestApp, method: str, address: str) -> None:
    """Without a header that no form can send, the API changes nothing."""
    response = app.request(
        f"/api/v1{address}",
        method=method,
        body=BODIES.get(address, b""),
        content_type="application/json",
        status=403,
    )
    assert "X-Requested-With" in response.json["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("method", "address"), CHANGES)
def test_a_read_only_api(db: Any, failed: Any, method: str, address: str) -> None:
    """Where nothing may be changed, the API changes nothing."""
    response = dashboard(db, tasks=["echo"]).request(
        f"/api/v1{address}",
        method=method,
        body=BODIES.get(address, b""),
        headers=HEADERS,
        content_type="application/json",
        status=403,
    )
    assert response.content_type == "application/problem+json"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_forms_can_send_is_no_json(app: TestApp, kind: str) -> None:
    """A body of a kind that another site's form can send is not read."""
    app.post(
        "/api/v1/jobs", BODIES["/jobs"], headers=HEADERS, content_type=kind, status=415
    )


@pytest.mark.parametrize(
    "address", ["/", "/jobs/1", "/nope", "/api/v1/status", "/api/v1/nope", "/healthz"]
)
def test_browsers_are_told_what_holds(app: TestApp, address: str) -> None:
    """Every answer forbids scripts and styles within pages, frames and caches."""
    response = app.get(address, status="*")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cache-Control"] == "no-store"


def test_refusals_are_told_too(db: Any, service: Any) -> None:
    """An answer to somebody who is not let in has the same headers."""
    response = dashboard(db, authentication=lambda request: None).get("/", status=403)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_cookies_are_for_the_dashboard(app: TestApp) -> None:
    """Cookies are not sent along from other sites, nor seen by scripts."""
    page = app.get("/")
    cookies = page.headers.getall("Set-Cookie")
    cookies += page.forms[0].submit("live", value="off").headers.getall("Set-Cookie")
    assert len(cookies) >= 2
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()


@pytest.mark.parametrize(
    "address", ["/jobs?text=%ff", "/%ff", "/api/v1/jobs?text=%ff", "/jobs/1?done=%ff"]
)
def test_what_is_not_text(app: TestApp, address: str) -> None:
    """An address that is not UTF-8 is a bad request, not a failure."""
    app.get(address, status=400)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", "text/plain"]
)
def test_forms_are_of_one_kind(app: TestApp, kind: str) -> None:
    """What no form of the dashboard sends is not read, however broken it is."""
    app.post("/live", b"abc", content_type=kind, status=415)
    app.post("/nope", b"abc", content_type=kind, status=415)


def test_bodies_have_a_length(app: TestApp) -> None:
    """Nobody knows how much would have to be read, else."""
    endless = {"Transfer-Encoding": "chunked"}
    answer = app.request("/live", method="POST", headers=endless, status=411)
    assert "its length is needed" in answer


def test_a_form_that_is_not_text(app: TestApp) -> None:
    """Nor is a form: its token is none."""
    app.post("/jobs/1/retry", b"csrf_token=%ff", status=403)


@pytest.fixture
def hostile(db: Any, service: Any) -> Any:
    """A service whose every text is hostile."""

    def fail(value: Any) -> Any:
        raise RuntimeError(HOSTILE)

    def work(value: Any) -> Any:
        run = remotetask.current()
        run.progress(0.5, HOSTILE)
        wait_until(lambda: run.cancelled)

    register(HOSTILE, fail)
    register("work" + HOSTILE, work)
    register("echo" + HOSTILE, lambda value: value)
    root = service.__parent__
    hostile = root[HOSTILE] = type(service)()
    hostile.__parent__, hostile.__name__ = root, HOSTILE
    hostile.processorFactory = MultiProcessor
    hostile.processorArguments = {"waitTime": 0.01, "heartbeat": 0.05}
    hostile.add(HOSTILE, {HOSTILE: HOSTILE})
    hostile.add("echo" + HOSTILE, [HOSTILE])
    hostile.addCronJob(HOSTILE, every=60)
    hostile.addCronJob("echo" + HOSTILE, every=3600)
    hostile.runNow(3)
    hostile.add("work" + HOSTILE, HOSTILE)
    transaction.commit()
    with processing(hostile):
        wait_until(lambda: transaction.begin() and hostile.count("error"))
        wait_until(lambda: transaction.begin() and hostile.progress(5))
        yield hostile
        hostile.cancel(5)
        transaction.commit()


#: Addresses that the routes alone do not tell.
ADDRESSES = {
    "/bulk?verb=retry&scope=matching",
    "/jobs/1/remove",
    "/jobs/1/%3Cb%3E",
    "/jobs?status=processing",
}


def pages_of(app: TestApp) -> set[str]:
    """The addresses of all pages, with each job and each verb."""
    found = set()
    for pattern, address in addresses(app):
        if not pattern.startswith(("/api/", "static/")):
            found |= {address.replace("/jobs/1", f"/jobs/{n}") for n in range(1, 6)}
    return found


def test_everything_is_escaped(db: Any, hostile: Any) -> None:
    """Whatever a name, an input, an output, an error or a message is, it is text."""
    app = dashboard(db, [HOSTILE], allow_changes=True, title=HOSTILE)
    for address in ADDRESSES | pages_of(app):
        answer = app.get(address, status="*")
        if answer.content_type == "text/html":
            check_harmless(answer.text)
        else:
            assert answer.content_type == "application/json"
    shown = Outline(app.get("/jobs/1").text)
    assert "<script>alert(1)</script>" in shown.text
    filtered = app.get("/jobs", {"text": HOSTILE, "task": HOSTILE})
    check_harmless(filtered.text)
    check_harmless(app.get("/bulk", {"verb": "retry", "text": HOSTILE}).text)


def check_harmless(page: str) -> None:
    """A page has only scripts of the dashboard's own, and no handlers or styles."""
    found = Outline(page)
    assert "49" not in re.findall(r"\{\{.*?\}\}|\$\{.*?\}", page)
    for tag, attributes in found.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "script":
            assert str(attributes["src"]).startswith("/static/")
        if tag in {"img", "iframe", "object", "style", "base"}:
            raise AssertionError(f"<{tag}> has come in")


@pytest.mark.parametrize("name", [HOSTILE, "nobody"])
def test_users_are_escaped(db: Any, service: Any, name: str) -> None:
    """So is the name of who asks."""
    app = dashboard(db, authentication=lambda request: name)
    check_harmless(app.get("/").text)


def test_secrets_are_not_logged(
    db: Any, service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure of the dashboard is logged; who asks is told nothing of it."""
    app = TestApp(
        dashboard(db, authentication=lambda request: 1 / 0).app,
        extra_environ=dict(LOCAL),
    )
    page = app.get("/", headers={"Authorization": "Basic c2VjcmV0"}, status=500)
    assert "ZeroDivisionError" not in page
    assert "ZeroDivisionError" in caplog.text
    assert "c2VjcmV0" not in caplog.text
