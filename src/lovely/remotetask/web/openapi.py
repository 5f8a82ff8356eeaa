"""The description of the API, made from its table of operations: OpenAPI 3.1."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from lovely.remotetask.states import STATUSES
from lovely.remotetask.web.fields import LARGEST, Field
from lovely.remotetask.web.operations import OPERATIONS, Operation

Schema = dict[str, Any]


def description(request: Any) -> Schema:
    """The API as it is here."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        here = paths.setdefault(operation.path, {})
        here[operation.method.lower()] = _operation(operation)
    security = getattr(request.dashboard.authentication, "challenge", "")
    basic = {"basic": {"type": "http", "scheme": "basic"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lovely.remotetask",
            "version": version("lovely.remotetask"),
            "description": "Jobs of a task service: see them, and change them.",
        },
        "servers": [{"url": f"{quote(request.script_name)}/api/v1"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": basic if security.startswith("Basic") else {},
        },
        "security": [{"basic": []}] if security.startswith("Basic") else [],
    }


def _operation(operation: Operation) -> Schema:
    parameters = [_parameter("query", field) for field in operation.query]
    if "{id}" in operation.path:
        parameters.append(_ID)
    if operation.changes:
        parameters.append(_HEADER)
    found = {
        "operationId": operation.name,
        "summary": operation.meaning.partition(".")[0] + ".",
        "description": operation.meaning,
        "parameters": parameters,
        "responses": _responses(operation),
    }
    if operation.body:
        schema = _body(operation.body)
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return found


def _parameter(place: str, field: Field) -> Schema:
    return {
        "name": field.name,
        "in": place,
        "description": field.meaning,
        "required": field.required,
        "schema": dict(field.kind.schema),
    }


def _body(fields: tuple[Field, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {
            field.name: {**field.kind.schema, "description": field.meaning}
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


def _responses(operation: Operation) -> Schema:
    schema = {"$ref": f"#/components/schemas/{operation.answer}"}
    good = {
        "description": "As asked.",
        "content": {"application/json": {"schema": schema}},
    }
    problems = {400, 401, 403, 413, 429, 503, *operation.problems}
    problems |= {415} if operation.body else set()
    told = {str(status): _PROBLEM for status in sorted(problems)}
    return {str(operation.status): good, **told}


_ID = {
    "name": "id",
    "in": "path",
    "description": "The id of a job.",
    "required": True,
    "schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
}

_HEADER = {
    "name": "X-Requested-With",
    "in": "header",
    "description": "Any value.  A page of another site can't send it.",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}

_PROBLEM = {
    "description": "It was not done.",
    "content": {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
    },
}


def _object(**properties: Schema) -> Schema:
    """All of them are always there."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(schema: Schema | str) -> Schema:
    items = (
        {"$ref": f"#/components/schemas/{schema}"}
        if isinstance(schema, str)
        else schema
    )
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_JOB_ID: Schema = {"type": "integer", "minimum": 1, "maximum": LARGEST}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_FLAG: Schema = {"type": "boolean"}

_BRIEF = {
    "id": _JOB_ID,
    "task": _TEXT,
    "status": {"type": "string", "enum": list(STATUSES)},
    "created": _or_null(_MOMENT),
    "started": _or_null(_MOMENT),
    "completed": _or_null(_MOMENT),
    "scheduled_for": _or_null(_MOMENT),
    "attempt": _COUNT,
    "error": _or_null(_TEXT),
}

_ATTEMPT = _object(
    number=_COUNT,
    started=_or_null(_MOMENT),
    ended=_or_null(_MOMENT),
    seconds=_or_null(_SECONDS),
    failure=_or_null(_object(type=_TEXT, message=_TEXT, traceback=_TEXT)),
)

_RUN = _object(
    planned=_or_null(_MOMENT),
    started=_or_null(_MOMENT),
    ended=_or_null(_MOMENT),
    outcome={"type": "string", "enum": ["completed", "error", "cancelled", "skipped"]},
    error=_or_null(_TEXT),
)

_SCHEDULE = _object(when=_TEXT, paused=_FLAG, upcoming=_list(_MOMENT), runs=_list(_RUN))

SCHEMAS: dict[str, Schema] = {
    "Status": _object(
        counts=_object(**dict.fromkeys(STATUSES, _COUNT)),
        total=_COUNT,
        waiting=_COUNT,
        oldest=_or_null(_MOMENT),
        stalled=_FLAG,
        workers=_COUNT,
    ),
    "History": _object(minutes=_list("Minute")),
    "Minute": _object(
        start=_MOMENT,
        completed=_COUNT,
        failed=_COUNT,
        retried=_COUNT,
        waited=_SECONDS,
        ran=_SECONDS,
    ),
    "JobInList": _object(**_BRIEF),
    "Job": _object(
        **_BRIEF,
        input={},
        output={},
        running_since=_or_null(_MOMENT),
        attempts=_list(_ATTEMPT),
        progress=_or_null(_object(fraction=_SECONDS, message=_TEXT)),
        schedule=_or_null(_SCHEDULE),
    ),
    "Page": _object(jobs=_list("JobInList"), next=_or_null(_JOB_ID), looked_at=_COUNT),
    "Jobs": _object(jobs=_list("JobInList")),
    "Changed": _object(done=_list(_JOB_ID), left=_list(_JOB_ID)),
    "Removed": _object(removed=_COUNT),
    "Workers": _object(
        workers=_list(
            _object(
                identity=_TEXT,
                host=_TEXT,
                pid=_COUNT,
                state={
                    "type": "string",
                    "enum": ["idle", "working", "busy", "stalled", "silent"],
                },
                started=_or_null(_MOMENT),
                threads=_COUNT,
                held=_list(_JOB_ID),
                heartbeat=_or_null(_MOMENT),
                last_claim=_or_null(_MOMENT),
            )
        )
    ),
    "Tasks": _object(tasks=_list(_object(name=_TEXT, addable=_FLAG))),
    "Problem": _object(type=_TEXT, title=_TEXT, status=_COUNT, detail=_TEXT),
}
