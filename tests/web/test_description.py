"""The API does what its own description says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
import transaction
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode

from lovely.remotetask.web import BasicAuthentication, make_app
from lovely.remotetask.web.operations import OPERATIONS, Operation
from tests.support import echo, fail, register
from tests.web.support import HEADERS, LOCAL, dashboard, password_file

#: How many requests of each kind are made.
EXAMPLES = 15


def takes_anything(operation: Operation) -> bool:
    """Whether there is something about a request that can be wrong."""
    return bool(operation.query or operation.changes or "{id}" in operation.path)


#: Each operation, rightly asked, and wrongly where it is given anything.
MODES = [
    pytest.param(operation, mode, id=f"{operation.name}-{mode}")
    for operation in OPERATIONS
    for mode in ("positive", "negative")
    if mode == "positive" or takes_anything(operation)
]


def local(app: Any) -> Any:
    """The application, as it is called from this machine."""

    def called(environ: Any, start_response: Any) -> Any:
        return app({**environ, **LOCAL}, start_response)

    return called


@pytest.fixture
def schema(db: Any, service: Any) -> Any:
    """The description of a dashboard with jobs of all kinds."""
    register("echo", echo)
    register("fail", fail)
    for _ in range(40):
        service.add("echo", {"password": "x"})
        service.add("fail", "it broke")
    service.process()
    for _ in range(10):
        service.add("echo", startLater=True)
        service.add("echo", delay=3600)
        service.add("echo")
    service.addCronJob("echo", every=60)
    transaction.commit()
    app = make_app(db, "service", allow_changes=True, tasks=["echo"])
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app=local(app))


@pytest.mark.parametrize(("operation", "mode"), MODES)
def test_every_operation_is_as_described(
    schema: Any, operation: Operation, mode: str
) -> None:
    """Whatever is asked, right or wrong, the answer is one that is described."""
    described = schema[operation.path][operation.method]
    strategy = described.as_strategy(generation_mode=GenerationMode(mode))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Any) -> None:
        case.call_and_validate()

    ask()


def test_the_description_is_valid(db: Any, service: Any) -> None:
    """It is OpenAPI, and has every operation once."""
    found = dashboard(db).get("/api/v1/openapi.json").json
    validate(found)
    names = [
        operation["operationId"]
        for path in found["paths"].values()
        for operation in path.values()
    ]
    assert sorted(names) == sorted({operation.name for operation in OPERATIONS})


def test_it_says_how_to_log_in(db: Any, service: Any, tmp_path: Any) -> None:
    """Where a password is needed, the description says so; it is for those let in."""

    file = password_file(tmp_path / "passwords", eva="word")
    app = dashboard(db, authentication=BasicAuthentication(file))
    app.authorization = ("Basic", ("eva", "word"))
    found = app.get("/api/v1/openapi.json", headers=HEADERS).json
    assert found["security"] == [{"basic": []}]
    validate(found)
