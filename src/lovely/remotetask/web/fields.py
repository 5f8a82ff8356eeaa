"""What requests may give, by name: how it is read, and how it is described.

One table serves both, so that the description of the API is what the API does, and the
pages' filters are read alike.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, ClassVar

from lovely.remotetask.errors import InvalidArgument

#: The largest id.
LARGEST = 2**63 - 1

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


class Kind(ABC):
    """A kind of value."""

    #: What is accepted, in words.
    wanted: str
    #: As JSON Schema has it.
    schema: Mapping[str, Any]

    @abstractmethod
    def of_json(self, value: Any) -> Any:
        """The value, if it is one of the kind; else ValueError."""

    def of_text(self, text: str) -> Any:
        """The value that a text stands for; else ValueError."""
        return self.of_json(text)


class Number(Kind):
    """A number, from one bound to another, both included."""

    kind: ClassVar[str] = "number"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.wanted = f"{self.kind} from {low} to {high}"
        self.schema = {"type": self.kind, "minimum": low, "maximum": high}

    def of_json(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(value)
        if not (math.isfinite(value) and self.low <= value <= self.high):
            raise ValueError(value)
        return value

    def of_text(self, text: str) -> Any:
        return self.of_json(float(text))


class Integer(Number):
    """A whole number, from one bound to another."""

    kind = "integer"

    def __init__(self, low: int, high: int = LARGEST) -> None:
        super().__init__(low, high)

    def of_json(self, value: Any) -> int:
        if super().of_json(value) != int(value):
            raise ValueError(value)
        return int(value)

    def of_text(self, text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,19}", text):
            raise ValueError(text)
        return self.of_json(int(text))


class Text(Kind):
    """A text that is not too long."""

    def __init__(self, longest: int = 200) -> None:
        self.longest = longest
        self.wanted = f"text of 1 to {longest} characters"
        self.schema = {"type": "string", "minLength": 1, "maxLength": longest}

    def of_json(self, value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= self.longest:
            raise ValueError(value)
        return value


class Choice(Kind):
    """One of some texts."""

    def __init__(self, choices: Iterable[str]) -> None:
        self.choices = tuple(choices)
        self.wanted = f"one of {', '.join(self.choices)}"
        self.schema = {"type": "string", "enum": list(self.choices)}

    def of_json(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError(value)
        return value


class Moment(Kind):
    """A date and a time; in UTC, if it has no zone."""

    wanted = "a date and a time, as 2030-12-31T23:59:59Z"
    schema = MappingProxyType({"type": "string", "format": "date-time"})

    def of_json(self, value: Any) -> datetime:
        if not isinstance(value, str) or not (found := _DATE.fullmatch(value)):
            raise ValueError(value)
        # As the oldest Python reads it: a space, an offset, six digits of a second.
        text, fraction = value[:10] + " " + value[11:], found[2]
        if fraction:
            text = text.replace(fraction, fraction[:7].ljust(7, "0"))
        text = re.sub("[Zz]$", "+00:00", text)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=timezone.utc)
        try:
            return moment.astimezone(timezone.utc)
        except OverflowError as error:
            raise ValueError(value) from error


class Flag(Kind):
    """Yes or no."""

    wanted = "true or false"
    schema = MappingProxyType({"type": "boolean"})

    def of_json(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(value)
        return value

    def of_text(self, text: str) -> bool:
        return self.of_json({"true": True, "false": False}.get(text))


class Several(Kind):
    """A list of one kind, each only once."""

    def __init__(self, kind: Kind, most: int) -> None:
        self.kind, self.most = kind, most
        self.wanted = f"a list of 1 to {most}, each {kind.wanted}, none of them twice"
        self.schema = {
            "type": "array",
            "items": dict(kind.schema),
            "minItems": 1,
            "maxItems": most,
            "uniqueItems": True,
        }

    def of_json(self, value: Any) -> list[Any]:
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            raise ValueError(value)
        found = [self.kind.of_json(item) for item in value]
        if len(set(found)) != len(found):
            raise ValueError(value)
        return found


class Anything(Kind):
    """Whatever JSON can say."""

    wanted = "anything"
    schema = MappingProxyType({})

    def of_json(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Field:
    """Something that may be given."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False


def read_texts(
    fields: Iterable[Field], given: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """What a query or a form says, by name.  Raise InvalidArgument."""
    texts: dict[str, str] = {}
    for name, text in given:
        if name in texts:
            raise InvalidArgument(f"{name}: it is given twice.")
        texts[name] = text
    return _read(fields, texts, _of_text)


def read_json(fields: Iterable[Field], given: Any) -> dict[str, Any]:
    """What a body says, by name.  Raise InvalidArgument."""
    if not isinstance(given, dict):
        raise InvalidArgument("The body: an object is needed.")
    return _read(fields, given, _of_json)


def _of_text(kind: Kind, text: str) -> Any:
    return kind.of_text(text)


def _of_json(kind: Kind, value: Any) -> Any:
    return kind.of_json(value)


def _read(
    fields: Iterable[Field], given: Mapping[str, Any], read: Callable[[Kind, Any], Any]
) -> dict[str, Any]:
    known = {field.name: field for field in fields}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        names = ", ".join(known) or "nothing"
        raise InvalidArgument(f"{unknown[0][:50]!r} is not known here; known: {names}.")
    for field in known.values():
        if field.required and field.name not in given:
            raise InvalidArgument(f"{field.name}: it is needed.")
    values = {}
    for name, value in given.items():
        kind = known[name].kind
        try:
            values[name] = read(kind, value)
        except (ValueError, OverflowError) as error:
            raise InvalidArgument(f"{name}: {kind.wanted}, please.") from error
    return values
