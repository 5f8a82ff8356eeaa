"""What may be shown of a job's input and output, and of texts: no secrets.

A value is made into a tree of what JSON knows, of a bounded size.  No code of the
application is asked to show it: an object is its class and its attributes, and of a
persistent one nothing but its class and its id is said.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from ZODB.utils import u64

from lovely.remotetask.errors import InvalidArgument, InvalidType

#: Regular expressions for names of what is not shown, wherever in the name.
PATTERNS = (
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api.?key",
    "access.?key",
    "private.?key",
    "authorization",
    "credential",
    "cookie",
    "session",
)

#: What is shown instead.
MASKED = "********"
#: What is shown of what is left out.
MORE = "..."

#: The most that is shown: levels, items of each collection, values altogether, and
#: characters of each text.
MOST_LEVELS, MOST_ITEMS, MOST_VALUES, MOST_TEXT = 8, 200, 2000, 10_000
#: And characters of an error with its traceback: all that is kept.
MOST_ERROR = 2 * 20_000

#: These show themselves in a line, and are Python's own.
_PLAIN = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
)


class Mask:
    """Hides what is named like a secret."""

    def __init__(self, patterns: Iterable[str] = PATTERNS) -> None:
        """``patterns``: regular expressions for names, whatever their case.

        Raise InvalidType (a TypeError) or InvalidArgument (a ValueError).
        """
        if isinstance(patterns, str):
            raise InvalidType("mask: several patterns are needed, not one str.")
        patterns = list(patterns)
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise InvalidType("mask: each pattern has to be a str.")
        either = "|".join(f"(?:{pattern})" for pattern in patterns) or "(?!)"
        try:
            self._name = re.compile(either, re.IGNORECASE)
            pair = _PAIR.format(names=either, quoted=_QUOTED)
            self._pair = re.compile(pair, re.IGNORECASE)
        except re.error as error:
            raise InvalidArgument(f"mask: {error}.") from error

    def hides(self, name: object) -> bool:
        """Whether what has this name is not to be shown."""
        if isinstance(name, enum.Enum):
            return self.hides((name.name, name.value))
        if isinstance(name, (tuple, frozenset)):
            return any(map(self.hides, name))
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        return isinstance(name, str) and self._name.search(name) is not None

    def text(self, text: str, most: int = MOST_TEXT) -> str:
        """A text without what looks like ``name=secret``, cut if it is long."""
        if len(text) > most:
            text = f"{text[:most]} {MORE}"
        text = _HEADER.sub(self._header, text)
        text = self._pair.sub(rf"\g<before>{MASKED}", text)
        return _URL.sub(rf"\g<1>{MASKED}@", text)

    def error(self, text: str) -> str:
        """All of an error that may be shown."""
        return self.text(text, MOST_ERROR)

    def _header(self, found: re.Match[str]) -> str:
        return f"{found[1]}{MASKED}" if self.hides(found[2]) else found[0]

    def value(self, value: Any) -> Any:
        """A value as a tree of dicts, lists, texts, numbers, bools and None."""
        return _Tree(self).show(value)


#: A name, what parts it from a value, and the value: what is in quotes, up to the end
#: if nothing ends it; what is in brackets; or a word.  A class's name, or a letter as
#: of bytes, may be before brackets and quotes.  Repetitions before the value are
#: bounded, so that no text takes long.
_PAIR = (
    r"(?P<before>(?:{names})[\w.\-]{{0,40}}(?:\\?[\"'])?\s{{0,5}}(?:=>|[:=])\s{{0,5}}"
    r"(?:(?:bearer|basic|token)\s{{1,5}})?)"
    r"(?:[bfru]{{0,2}}{quoted}|[\w.]{{0,100}}[(\[{{](?:{quoted}|[^)\]}}])*"
    r"|[^\s,;&\"'}})\]]+)"
)
_QUOTED = "(?:{})".format(
    "|".join(
        rf"\\{quote}[^{quote}\\]*\\{quote}"  # within another text, as of JSON
        rf"|\\?{quote}(?:\\[\s\S]|[^{quote}\\])*(?:{quote}|\\?\Z)"
        for quote in "\"'"
    )
)
#: Headers of HTTP, up to the end of the line or of the text that they are in.
_HEADER = re.compile(
    r"((cookie|authorization)[ \t]{0,5}:[ \t]{0,5})[^\s\"'][^\r\n\"']*", re.IGNORECASE
)
#: The password in a URL.
_URL = re.compile(
    r"(\b[a-z][a-z0-9+.\-]{0,20}://[^\s/:@]{0,100}:)[^\s/]{1,200}@", re.IGNORECASE
)


class _Tree:
    """Shows one value: counts what it has shown."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._shown = 0

    def show(self, value: Any, level: int = 0) -> Any:
        self._shown += 1
        if self._shown > MOST_VALUES or level > MOST_LEVELS:
            return MORE
        try:
            return self._show(value, level)
        except Exception as error:
            # An object of the application may do anything.
            return f"<{_class_of(value)}, which can't be shown: {type(error).__name__}>"

    def _show(self, value: Any, level: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return f"{type(value).__name__}.{value.name}"
        if isinstance(value, (int, float)):
            return _number(value)
        if isinstance(value, str):
            return self._mask.text(str.__str__(value))
        if isinstance(value, (bytes, bytearray)):
            return f"<{len(value):,} bytes>"
        if isinstance(value, _PLAIN):
            return self._mask.text(str(value))
        return self._collection(value, level)

    def _collection(self, value: Any, level: int) -> Any:
        if isinstance(value, (dict, PersistentMapping)):
            return self._pairs(value.items(), len(value), level)
        if isinstance(value, Persistent) and not isinstance(value, PersistentList):
            return _persistent(value)
        if self._is_secret_pair(value):
            return [self._key(value[0]), MASKED]
        names = getattr(value, "_fields", None)
        if names is not None and isinstance(value, tuple):
            return self._object(value, dict(zip(names, value, strict=False)), level)
        if isinstance(value, (list, tuple, set, frozenset, PersistentList)):
            shown = [self.show(item, level + 1) for item in islice(value, MOST_ITEMS)]
            return shown + ([MORE] if len(value) > MOST_ITEMS else [])
        if isinstance(value, type) or callable(value):
            return f"<{getattr(value, '__module__', '')}.{_name_of(value)}>"
        return self._object(value, _attributes(value), level)

    def _is_secret_pair(self, value: Any) -> bool:
        """Whether it is a name and a secret, as those of headers."""
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            return False
        name, _ = value
        return isinstance(name, (str, bytes)) and self._mask.hides(name)

    def _object(self, value: Any, attributes: Mapping[str, Any], level: int) -> Any:
        if not attributes:
            return f"<{_class_of(value)}>"
        pairs = self._pairs(attributes.items(), len(attributes), level)
        return {"<class>": _class_of(value), **pairs}

    def _pairs(
        self, pairs: Iterable[tuple[Any, Any]], length: int, level: int
    ) -> dict[str, Any]:
        shown = {
            self._key(name): MASKED
            if self._mask.hides(name)
            else self.show(value, level + 1)
            for name, value in islice(pairs, MOST_ITEMS)
        }
        return shown | ({MORE: length - MOST_ITEMS} if length > MOST_ITEMS else {})

    def _key(self, name: Any) -> str:
        return name[:200] if isinstance(name, str) else str(self.show(name))[:200]


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    # Python refuses to write down what is longer.
    return int(value) if int(value).bit_length() < 10_000 else "<a large number>"


def _attributes(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names}
    return dict(getattr(value, "__dict__", {}))


def _persistent(value: Persistent) -> str:
    oid = value._p_oid
    return f"<{_class_of(value)}{'' if oid is None else f' {u64(oid):#x}'}>"


def _class_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _name_of(value: Any) -> str:
    return str(getattr(value, "__qualname__", type(value).__qualname__))
