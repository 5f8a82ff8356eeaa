"""Values of arguments and options that click does not know."""

from __future__ import annotations

import json
import math
import re
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from lovely.remotetask.retention import Keep
from lovely.remotetask.states import REMOVABLE, STATUSES

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]  # older ones have no parameter
else:
    ParamType = click.ParamType

#: Seconds by the last letter of a span of time.
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Moment(ParamType):
    """A moment: ISO 8601, by this machine's zone if it names none, or a span ago."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        span = span_of(value)
        try:
            if span is not None:
                return datetime.now(timezone.utc) - timedelta(seconds=span)
            return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone()
        except ValueError:
            self.fail(f"{value!r} is neither like 2026-03-01T12:00 nor like 90m or 7d.")
        except OverflowError:
            self.fail(f"{value!r} is before the year 1 or after the year 9999.")


def span_of(value: str) -> float | None:
    """The seconds of ``90m``, ``7d``; None if it is something else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value)
    return None if found is None else float(found[1]) * SPANS[found[2]]


class ServiceName(ParamType):
    """The path or the name of a service; in a variable, several between commas."""

    name = "SERVICE"
    envvar_list_splitter = ","

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        return str(value).strip()


class Status(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """A status of jobs; one of two words can be written as shells complete it."""

    def __init__(self) -> None:
        super().__init__([status.replace(" ", "-") for status in STATUSES])

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        found: str = super().convert(str(value).replace(" ", "-"), param, ctx)
        return found.replace("-", " ")


class Json(ParamType):
    """A value, as JSON."""

    name = "JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        if value == "-":
            value = sys.stdin.read()
        try:
            return json.loads(value, parse_constant=_no_constant)
        except ValueError as error:
            self.fail(
                f"{value!r} is no JSON: {error}. A text needs quotes of its own: "
                "'\"text\"'."
            )


def _no_constant(name: str) -> None:
    """What Python takes, and JSON has not."""
    raise ValueError(f"{name} is none of its values")


class Seconds(click.FloatRange):
    """How many seconds: not less than none, and a number."""

    def __init__(self, least: float = 0) -> None:
        super().__init__(min=least)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number.", param, ctx)
        return seconds


class Retention(ParamType):
    """How long jobs with a status are kept: ``completed=7d``, ``error=1000``."""

    name = "STATUS=HOW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Keep | None]:
        if isinstance(value, tuple):
            return value
        status, separator, how = value.partition("=")
        if status not in REMOVABLE or not separator:
            known = ", ".join(sorted(REMOVABLE))
            self.fail(f"{value!r}: STATUS=HOW is needed, with one of {known}.")
        if how == "forever":
            return status, None
        age = number = None
        for part in how.split(","):
            span = span_of(part)
            if span is not None:
                age = span
            elif part.isdecimal():
                number = int(part)
            else:
                self.fail(f"{part!r}: 'forever', an age (7d), a number or 7d,1000.")
        return status, Keep(age, number)
