"""What is shown of values and of texts: bounded, and without secrets."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import time
from typing import Any, NamedTuple

import pytest
from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.web import masking
from lovely.remotetask.web.masking import MASKED, Mask


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Login:
    user: str
    password: str


class Pair(NamedTuple):
    name: str
    api_key: str


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __repr__(self) -> str:
        raise AssertionError("nobody asks it")

    __str__ = __repr__


class Kind(enum.Enum):
    TOKEN = 1


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Stored(Persistent):
    password = "secret"


class Trap(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("trapped")


def named(name: str) -> str:
    return f"{__name__}.{name}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (1.5, 1.5),
        (float("nan"), "nan"),
        pytest.param(10**5000, "<a large number>", id="large"),
        ("text", "text"),
        (Loud("as it is"), "as it is"),
        (b"bytes", "<5 bytes>"),
        (Colour.RED, "Colour.RED"),
        (decimal.Decimal("1.10"), "1.10"),
        (datetime.date(2030, 1, 2), "2030-01-02"),
        (datetime.timedelta(hours=1), "1:00:00"),
        ((1, [2, {3}]), [1, [2, [3]]]),
        ({1: {"a": 2}}, {"1": {"a": 2}}),
        (PersistentMapping(a=1), {"a": 1}),
        (PersistentList([1]), [1]),
        (Stored(), f"<{named('Stored')}>"),
        (Plain(), f"<{named('Plain')}>"),
        (Plain(a=1), {"<class>": named("Plain"), "a": 1}),
        (len, "<builtins.len>"),
        (Plain, f"<{named('Plain')}>"),
        (Trap(a=1), f"<{named('Trap')}, which can't be shown: RuntimeError>"),
    ],
)
def test_values_are_trees(value: Any, shown: Any) -> None:
    """Every kind of value is made of what JSON knows; no object is asked."""
    found = Mask().value(value)
    assert found == shown
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "value",
    [
        {"password": "s3cret"},
        {"deep": [{"User-Token": {"a": "s3cret"}}]},
        {"headers": {"Authorization": "Basic s3cret"}},
        Login("eva", "s3cret"),
        Pair("eva", "s3cret"),
        Plain(session_id="s3cret"),
        PersistentMapping({"client_secret": "s3cret"}),
        '{"password": "s3cret"}',
        "user=eva&api_key=s3cret&x=1",
        "Authorization: Bearer s3cret",
        "postgresql://eva:s3cret@host/db",
        ["PASSWORD='s3cret'"],
        {b"password": "s3cret"},
        {("eva", "password"): "s3cret"},
        {Kind.TOKEN: "s3cret"},
        [("Authorization", "Basic s3cret"), ["x-api-key", "s3cret"]],
        pathlib.PurePosixPath("/x?token=s3cret"),
        '{"password": "ab\\"s3cret", "user": "eva"}',
        r'"{\"password\": \"s3cret\", \"user\": 1}"',
        r'"{\"password\": \"a\\\"s3cret\"}"',
        "{'password': b's3cret'}",
        "login(password=Secret('s3cret'))",
        "passwords: ['a', 's3cret']",
        "password=('a', \"s3)cret, s3cret\")",
        "password => s3cret",
        "it was cut: {'password': 's3cret",
        "it was cut: {'password': 's3cret\\",
        "Cookie: a=b; c=s3cret\r\nHost: x",
        "{'Cookie': 'a=b; c=s3cret'}",
        "Authorization: Digest username=eva, response=s3cret",
        "Authorization: Token s3cret",
        "redis://:s3cret@host/0",
        "amqp://eva:p@s3cret@host/0",
    ],
)
def test_secrets_are_hidden(value: Any) -> None:
    """What is named like a secret is not shown, wherever it is."""
    shown = json.dumps(Mask().value(value))
    assert "3cret" not in shown
    assert MASKED in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password: can't be empty, eva", f"password: {MASKED}'t be empty, eva"),
        ("{'token': 'x', 'user': 'eva'}", "{'token': ********, 'user': 'eva'}"),
        ("Secret(token='x', user='eva')", "Secret(token=********, user='eva')"),
        ("Cookie: a=b; c=d\nHost: x", f"Cookie: {MASKED}\nHost: x"),
        ("the cookies: none", "the cookies: ********"),
        ("see http://host:80/a@b", "see http://host:80/a@b"),
    ],
)
def test_no_more_is_hidden(text: str, shown: str) -> None:
    """What follows a secret is shown."""
    assert Mask().text(text) == shown


def test_the_rest_is_shown() -> None:
    """What is beside a secret stays, and what is only like one."""
    shown = Mask().text("user=eva password=abc and a passport: 12, at http://h:80/x")
    assert shown == f"user=eva password={MASKED} and a passport: 12, at http://h:80/x"


def test_patterns_are_chosen() -> None:
    """Other patterns are used instead, whatever the case; none hide nothing."""
    mask = Mask(["iban$"])
    assert mask.value({"IBAN": 1, "password": 2}) == {"IBAN": MASKED, "password": 2}
    assert Mask([]).value({"password": 2}) == {"password": 2}
    assert Mask([]).text("password=2") == "password=2"
    assert Mask([]).text("Cookie: a") == "Cookie: a"


def test_bad_patterns() -> None:
    """What is no pattern, or one only, is refused."""
    with pytest.raises(InvalidArgument, match="mask"):
        Mask(["("])
    with pytest.raises(InvalidType, match="mask"):
        Mask("password")
    with pytest.raises(InvalidType, match="each pattern"):
        Mask([b"password"])  # type: ignore[list-item]


def test_circles_end() -> None:
    """What holds itself is shown to a bounded depth."""
    value: list[Any] = []
    value.append(value)
    assert masking.MORE in json.dumps(Mask().value(value))


def test_a_persistent_object_is_not_loaded(db: Any) -> None:
    """Of an object in the database its class and its id are shown."""
    with db.transaction() as connection:
        connection.root()["stored"] = Stored()
    with db.transaction() as connection:
        connection.cacheMinimize()
        stored = connection.root()["stored"]
        assert Mask().value(stored).startswith(f"<{named('Stored')} 0x")
        assert stored._p_changed is None


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        ["x" * 1000] * 100_000,
        {str(number): number for number in range(100_000)},
        [[[[[0] * 100] * 100] * 100] * 100],
        {"k" * 100_000: 1},
    ],
    ids=["text", "list", "dict", "nested", "key"],
)
def test_what_is_shown_is_bounded(value: Any) -> None:
    """However much there is, some of it is shown, and that there is more."""
    shown = json.dumps(Mask().value(value))
    assert len(shown) < 300_000
    assert masking.MORE in shown or len(shown) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "token" * 8000,
        "a" * 40_000,
        'token="' * 6000,
        "token=(" * 6000,
        "token=" + "('\"" * 9000 + "\\",
        'token="' + "\\" * 40_001,
        r"token=\"" * 6000 + "\\",
        "token=" + "a" * 40_000 + "(",
        "cookie:" * 6000,
        "x://:" + "a" * 40_000,
        "pwd" + " " * 40_000,
        "x://" * 9000,
    ],
    ids=range(12),
)
def test_no_text_takes_long(text: str) -> None:
    """The time that a text takes grows with its length only."""
    begun = time.process_time()
    Mask().text(text, len(text))
    assert time.process_time() - begun < 2
