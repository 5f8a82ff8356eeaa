"""What can be typed for numbers of a calendar, and for a task's input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from zope.formlib.interfaces import ConversionError
from zope.formlib.itemswidgets import DropdownWidget
from zope.formlib.textwidgets import TextAreaWidget, TextWidget
from zope.schema.vocabulary import SimpleVocabulary

from lovely.remotetask.browser.display import numbers

#: A number, or two of them with all between, maybe in steps: 5  1-5  0-59/15  */15
PART = re.compile(
    r"(?:(?P<first>\d{1,2})(?:-(?P<last>\d{1,2}))?|\*)(?:/(?P<step>\d+))?"
)


def parse_numbers(text: str, allowed: range) -> tuple[int, ...]:
    """The numbers that a text names, in order.  Raise ValueError."""
    parts = text.replace(",", " ").split()
    return tuple(sorted({number for part in parts for number in _part(part, allowed)}))


def _part(part: str, allowed: range) -> Iterator[int]:
    match = PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is no number, no range such as 1-5, and no *.")
    first, last, step = match["first"], match["last"], int(match["step"] or 1)
    low = allowed[0] if first is None else int(first)
    high = allowed[-1] if first is None or (last is None and match["step"]) else low
    high = int(last) if last is not None else high
    for number in (low, high):
        if number not in allowed:
            raise ValueError(f"From {allowed[0]} to {allowed[-1]}, not {number}.")
    if high < low or not step:
        raise ValueError(f"{part!r} names nothing.")
    return iter(range(low, high + 1, step))


class NumbersWidget(TextWidget):
    """A field of a calendar: ``*`` is each number that it can have."""

    extra = 'autocomplete="off"'

    def _toFormValue(self, value: Any) -> str:
        if not value or isinstance(value, str):
            return value or ""
        of = self.context.value_type
        everything = tuple(range(of.min, of.max + 1))
        return "*" if tuple(value) == everything else numbers(value)

    def _toFieldValue(self, input: str) -> Any:
        of = self.context.value_type
        try:
            found = parse_numbers(input, range(of.min, of.max + 1))
        except ValueError as error:
            raise ConversionError(str(error), error) from error
        return found or self.context.missing_value


class JSONWidget(TextAreaWidget):
    """A value as JSON."""

    height = 4

    def _toFormValue(self, value: Any) -> str:
        if value == self.context.missing_value or isinstance(value, str):
            return value or ""
        return json.dumps(value, indent=2)

    def _toFieldValue(self, input: str) -> Any:
        if not input.strip():
            return self.context.missing_value
        try:
            return json.loads(input)
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"This is no JSON: {error}", error) from error


class TaskWidget(DropdownWidget):
    """One of the tasks of the service."""

    def __init__(self, field: Any, request: Any) -> None:
        names = sorted(field.context.getAvailableTasks())
        super().__init__(field, SimpleVocabulary.fromValues(names), request)
