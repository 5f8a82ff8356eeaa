"""How long jobs that are over are kept: pure values, no clock of their own."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.states import REMOVABLE, STATUSES


@dataclass(frozen=True)
class Keep:
    """How long, and how many of, the jobs with a status are kept.

    What is given for either is a limit: a job that passes one of them is removed.
    Without any, jobs are kept for ever.

    Raise InvalidType (a TypeError) or InvalidArgument (a ValueError) for what makes
    no sense.
    """

    #: Seconds since the job was over, from 0 on.
    age: float | None = None
    #: How many to keep, those that were added last, an int from 0 on.
    number: int | None = None

    def __post_init__(self) -> None:
        if self.age is not None:
            times.check_seconds("age", self.age)
        if self.number is not None:
            check_number("number", self.number)


class Retention(Mapping[str, Keep]):
    """A mapping of statuses to `Keep` that nobody can change.

    Behind a security proxy it can be read, as no MappingProxyType could be.
    """

    def __init__(self, keep: Mapping[str, Keep]) -> None:
        self._keep = dict(keep)

    def __getitem__(self, status: str) -> Keep:
        return self._keep[status]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keep)

    def __len__(self) -> int:
        return len(self._keep)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._keep!r})"

    # The views of dicts, which zope.security knows.

    def keys(self) -> KeysView[str]:
        return self._keep.keys()

    def values(self) -> ValuesView[Keep]:
        return self._keep.values()

    def items(self) -> ItemsView[str, Keep]:
        return self._keep.items()


def check_number(name: str, value: object) -> int:
    """An argument that is a number of jobs, from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(f"{name}: an int is needed, not {type(value).__name__}.")
    if value < 0:
        raise InvalidArgument(f"{name}: 0 or more is needed, not {value!r}.")
    return value


def check_retention(retention: object) -> dict[str, Keep]:
    """What a service has as its ``retention``, if that makes sense."""
    if not isinstance(retention, Mapping):
        raise InvalidType(
            "retention: a mapping of statuses to Keep is needed, not "
            f"{type(retention).__name__}."
        )
    for status, keep in retention.items():
        if status not in STATUSES:
            known = ", ".join(map(repr, sorted(REMOVABLE)))
            raise InvalidArgument(f"retention: {status!r} is none of {known}.")
        if status not in REMOVABLE:
            raise InvalidArgument(
                f"retention: jobs that are {status!r} are not over, and can't be "
                f"removed; only {', '.join(map(repr, sorted(REMOVABLE)))} can."
            )
        if not isinstance(keep, Keep):
            raise InvalidType(
                f"retention: for {status!r} a Keep is needed, not {keep!r}."
            )
    return dict(retention)
