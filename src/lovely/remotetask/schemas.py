"""Whether a value meets a schema: an interface with fields of zope.schema, or a field.

The core can't import zope.schema, and need not: fields know how to validate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from zope.interface import Invalid
from zope.interface.interfaces import IInterface

from lovely.remotetask.errors import InvalidType, SchemaNotMet


def check_schema(schema: Any, value: Any, what: str) -> None:
    """A value meets a schema.  ``what`` it is, for the error, such as "The input".

    Mappings have the fields as items, other objects as attributes.  What has no value
    in a field has the field's missing value.  Raise SchemaNotMet; InvalidType for what
    is no schema.
    """
    if schema is None:
        return
    check_is_schema(schema, what)
    if _is_field(schema):
        problems = [("", reason) for reason in _reasons(schema, value)]
    else:
        problems = list(_problems(schema, _Fields(schema, value)))
    if problems:
        raise SchemaNotMet(what, getattr(schema, "__name__", ""), tuple(problems))


def check_is_schema(schema: object, what: str) -> None:
    """What is to be a schema is one.  Raise InvalidType."""
    if not (_is_field(schema) or IInterface.providedBy(schema)):
        raise InvalidType(
            f"{what}: a schema is an interface, a field or None, not {schema!r}."
        )


def _is_field(attribute: Any) -> bool:
    return callable(getattr(attribute, "validate", None))


def _problems(schema: Any, fields: _Fields) -> Iterator[tuple[str, str]]:
    """What is wrong: the names of fields, and why; '' for what concerns several."""
    wrong = False
    for name, attribute in schema.namesAndDescriptions(all=True):
        if _is_field(attribute):
            for reason in _reasons(attribute, getattr(fields, name), fields):
                wrong = True
                yield name, reason
    if not wrong:
        errors: list[Invalid] = []
        with suppress(Invalid):
            schema.validateInvariants(fields, errors)
        yield from (("", _reason(error)) for error in errors)


def _reasons(field: Any, value: Any, fields: _Fields | None = None) -> list[str]:
    """Why a value does not meet a field, which is one of several, or alone."""
    try:
        # A choice is bound to its vocabulary, which may be missing.
        bound = field if fields is None else field.bind(fields)
        bound.validate(value)
    except Invalid as error:
        return [_reason(error)]
    return []


def _reason(error: Any) -> str:
    """An error of zope.schema, or of a constraint, in words and without the value."""
    doc = getattr(error, "doc", None)
    # What is missing is said by the error alone.
    said = str(error) if doc is None or isinstance(error, LookupError) else doc()
    reason = str(said or type(error).__name__).strip().rstrip(".")
    bound = getattr(error, "bound", None)
    if bound is not None:
        reason = f"{reason} (the bound is {bound!r})"
    # Of the elements of a collection, or of another object's fields.
    inner = [e for e in getattr(error, "errors", None) or () if isinstance(e, Invalid)]
    if inner:
        reason = f"{reason} ({', '.join(map(_named_reason, inner))})"
    return reason


def _named_reason(error: Any) -> str:
    """The same, of a field within another object."""
    name = getattr(getattr(error, "field", None), "__name__", "")
    return f"{name}: {_reason(error)}" if name else _reason(error)


def _is_mapping(value: Any) -> bool:
    try:
        return isinstance(value, Mapping)
    except TypeError:
        # The class of what is behind a security proxy is no class.
        return hasattr(value, "keys")


class _Fields:
    """A value as an object that has the fields of a schema as attributes."""

    def __init__(self, schema: Any, value: Any) -> None:
        self.__schema, self.__value = schema, {} if value is None else value

    def __getattr__(self, name: str) -> Any:
        value, missing = self.__value, object()
        if _is_mapping(value):
            found = value.get(name, missing)
        else:
            found = getattr(value, name, missing)
        if found is not missing:
            return found
        field = self.__schema.get(name)
        if field is None or not _is_field(field):
            raise AttributeError(name)
        return field.missing_value
