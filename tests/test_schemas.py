"""Inputs and outputs have to meet the schemas of their tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import transaction
import zope.schema
from persistent.mapping import PersistentMapping
from zope.interface import (
    Attribute,
    Interface,
    Invalid,
    directlyProvides,
    invariant,
)

from lovely.remotetask import SimpleTask
from lovely.remotetask.errors import InvalidArgument, InvalidType, SchemaNotMet
from lovely.remotetask.schemas import check_schema
from tests.support import counts, echo, fails_alone, provide


def even(value: int) -> bool:
    """A constraint that says what is wrong."""
    if value % 2:
        raise Invalid("It has to be even.")
    return True


class IPicture(Interface):
    """What a picture is to become."""

    width = zope.schema.Int(title="Width", min=2, max=5000, constraint=even)
    name = zope.schema.TextLine(title="Name", constraint=lambda name: name != "no")
    tags = zope.schema.List(
        title="Tags", value_type=zope.schema.TextLine(), required=False
    )
    colour = zope.schema.Choice(
        title="Colour", values=["red", "blue"], required=False, missing_value="none"
    )
    remark = Attribute("Whatever comes to mind.")

    def paint() -> None:  # type: ignore[misc]
        """Not of an input's business."""

    @invariant
    def red_is_small(picture: Any) -> None:  # noqa: N805
        """An invariant looks at several fields."""
        if picture.colour == "red" and picture.width > 100:
            raise Invalid("Red pictures are small.")


class ISmallPicture(IPicture):
    """A schema may extend another one."""

    width = zope.schema.Int(title="Width", max=10)


class IPaint(Interface):
    """A schema with a choice whose vocabulary nothing provides."""

    colour = zope.schema.Choice(title="Colour", vocabulary="colours")


GOOD: dict[str, Any] = {"width": 10, "name": "a"}

#: A schema, a value, and what the error tells: fields and reasons.
BAD: list[tuple[Any, Any, dict[str, str]]] = [
    (IPicture, {}, {"width": "Required", "name": "Required"}),
    (IPicture, None, {"width": "Required", "name": "Required"}),
    (IPicture, 5, {"width": "Required", "name": "Required"}),
    (IPicture, {"width": 10}, {"name": "Required"}),
    (IPicture, GOOD | {"width": "10"}, {"width": "wrong type"}),
    (IPicture, GOOD | {"width": 0}, {"width": "too small (the bound is 2)"}),
    (IPicture, GOOD | {"width": 5002}, {"width": "too big (the bound is 5000)"}),
    (IPicture, GOOD | {"width": 11}, {"width": "It has to be even"}),
    (IPicture, GOOD | {"name": "no"}, {"name": "Constraint not satisfied"}),
    (IPicture, GOOD | {"tags": ["a", 1]}, {"tags": "wrong type"}),
    (IPicture, GOOD | {"colour": "green"}, {"colour": "Constraint not satisfied"}),
    (IPicture, GOOD | {"width": 102, "colour": "red"}, {"": "Red pictures are small"}),
    (IPicture, SimpleNamespace(width=0, name="a"), {"width": "too small"}),
    (IPicture, PersistentMapping(GOOD, width=0), {"width": "too small"}),
    (ISmallPicture, GOOD | {"width": 12}, {"width": "too big (the bound is 10)"}),
    (IPaint, {"colour": "red"}, {"colour": "without vocabulary named 'colours'"}),
    (IPaint["colour"], "red", {"": "without vocabulary named 'colours'"}),
    (zope.schema.Int(min=1), 0, {"": "too small"}),
    (zope.schema.List(value_type=zope.schema.Int()), ["a"], {"": "wrong type"}),
]


@pytest.mark.parametrize(("schema", "value", "problems"), BAD)
def test_bad_values(schema: Any, value: Any, problems: dict[str, str]) -> None:
    """The error names the fields and says what is wrong, but not their values."""
    with pytest.raises(SchemaNotMet) as caught:
        check_schema(schema, value, "The input")
    found = dict(caught.value.problems)
    assert found.keys() == problems.keys()
    for name, reason in problems.items():
        assert reason in found[name]
        assert reason in str(caught.value)
    assert str(caught.value).startswith("The input does not meet ")


class Odd(zope.schema.ValidationError):
    __doc__ = None


def refuse(value: Any) -> bool:
    """A constraint with an error that says nothing."""
    raise Odd(value)


def test_reasons() -> None:
    """Errors within others are told, too, and even one that says nothing has a name."""

    class IAlbum(Interface):
        cover = zope.schema.Object(title="Cover", schema=IPicture)
        sizes = zope.schema.Dict(
            title="Sizes",
            key_type=zope.schema.TextLine(),
            value_type=zope.schema.Int(),
        )
        odd = zope.schema.Int(title="Odd", constraint=refuse)

    cover = SimpleNamespace(width="wide", name="a", tags=None, colour="none")
    directlyProvides(cover, IPicture)
    with pytest.raises(SchemaNotMet) as caught:
        check_schema(IAlbum, {"cover": cover, "sizes": {1: 1}, "odd": 1}, "The input")
    problems = dict(caught.value.problems)
    assert "(width: Object is of wrong type)" in problems["cover"]
    assert "(Object is of wrong type)" in problems["sizes"]
    assert problems["odd"] == "Odd"


GOOD_VALUES: list[tuple[Any, Any]] = [
    (None, object()),
    (Interface, object()),
    (IPicture, GOOD),
    (IPicture, GOOD | {"colour": "red", "tags": ["a"], "unknown": 1}),
    (IPicture, SimpleNamespace(**GOOD)),
    (IPicture, PersistentMapping(GOOD)),
    (zope.schema.Int(min=1), 1),
]


@pytest.mark.parametrize(("schema", "value"), GOOD_VALUES)
def test_good_values(schema: Any, value: Any) -> None:
    """What meets the schema passes, whatever else there is."""
    check_schema(schema, value, "The input")


def test_no_schema() -> None:
    """What is neither an interface nor a field is no schema."""
    with pytest.raises(InvalidType, match="The input: a schema is"):
        check_schema(dict, {}, "The input")


def test_message() -> None:
    """The message is for people, and tells of all fields at once."""
    with pytest.raises(SchemaNotMet) as caught:
        check_schema(IPicture, {"width": 0}, "The input for task 'resize'")
    assert str(caught.value) == (
        "The input for task 'resize' does not meet IPicture. "
        "width: Value is too small (the bound is 2); "
        "name: Required input is missing."
    )
    assert isinstance(caught.value, InvalidArgument)


def test_attributes_of_an_invariant() -> None:
    """An invariant finds what the value has, and fails for what it has not."""

    class IOther(Interface):
        here = Attribute("There is such a thing.")
        gone = Attribute("There is no such thing.")

        @invariant
        def looks(value: Any) -> None:  # noqa: N805
            assert value.here == 1
            if not hasattr(value, "gone"):
                raise Invalid("It is gone")

    with pytest.raises(SchemaNotMet, match=r"IOther\. It is gone\."):
        check_schema(IOther, SimpleNamespace(here=1), "The input")


@pytest.fixture
def resize(service: Any) -> str:
    """A task with a schema for its input."""
    provide("resize", SimpleTask(echo, inputSchema=IPicture))
    return "resize"


def test_add(service: Any, resize: str) -> None:
    """A job whose input does not meet the schema is not added, and no harm is done."""
    for add in (service.add, lambda *args: service.addCronJob(*args, minute=5)):
        with pytest.raises(SchemaNotMet, match=r"for task 'resize' .* width: .* name:"):
            add(resize, {})
    assert service.add(resize, GOOD) == 1
    assert service.addCronJob(resize, GOOD, minute=5) == 2
    transaction.commit()
    assert counts(service) == {"queued": 1, "cronjob": 1}


def test_output(service: Any) -> None:
    """A job whose output does not meet the schema fails, and leaves nothing behind."""
    runs = []

    def paint(input: Any) -> Any:
        runs.append(input)
        service._p_jar.root()["painted"] = input
        return input

    provide("paint", SimpleTask(paint, outputSchema=IPicture, retry=5))
    good, bad = service.add("paint", GOOD), service.add("paint", {"width": 0})
    service.process()
    assert service.getResult(good) == GOOD
    assert service.getStatus(bad) == "error"
    assert service.getError(bad).startswith(
        "The output of task 'paint' does not meet IPicture. width: "
    )
    assert service.getResult(bad) is None
    assert service._p_jar.root()["painted"] == GOOD
    assert runs == [GOOD, {"width": 0}], "it will not get better"


def test_output_of_a_worker(service: Any, db: Any) -> None:
    """The same holds in the background."""
    provide("bad", SimpleTask(lambda input: None, outputSchema=IPicture))
    jobid = fails_alone(db, service, "bad")
    transaction.begin()
    assert "width: Required input is missing" in service.getError(jobid)
