"""When a failed job is tried again: pure values, no clock, no chance of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lovely.remotetask import times
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    PrincipalGone,
    SchemaNotMet,
    TaskError,
    Unpicklable,
)

Errors = tuple[type[BaseException], ...]

#: After these a job is never tried again: it said so, or it will not get better.
HOPELESS = (TaskError, Unpicklable, SchemaNotMet, PrincipalGone)

#: So many seconds, some 300 years, lead to no date that can't be shown.
CENTURIES = 10_000_000_000


def _exceptions(name: str, given: object) -> Errors:
    """One exception class, or several, as a tuple."""
    if isinstance(given, (str, bytes)):
        raise InvalidType(
            f"{name}: exception classes, such as OSError, are needed, not {given!r}."
        )
    classes = tuple(given) if isinstance(given, Iterable) else (given,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidType(f"{name}: exception classes are needed, not {cls!r}.")
    return classes


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and when, a job is tried again after a failure.

    The pause after the n-th failure is ``delay * factor ** (n - 1)`` seconds, at
    most ``longest``; up to the share ``jitter`` of it is left out at random, so
    that jobs that failed together do not come back together.  (Exponential
    back-off with jitter, as is usual where many clients share a resource.)

    Raise InvalidType (a TypeError) or InvalidArgument (a ValueError) for what
    makes no sense.
    """

    #: How often to try again: an int from 0 on.
    retries: int = 3
    #: Seconds before the first retry.
    delay: float = 5.0
    #: What the pause is multiplied with each time: from 1 on.
    factor: float = 4.0
    #: The longest pause, in seconds.
    longest: float = 3600.0
    #: From 0 (always the full pause) to 1 (anything up to it).
    jitter: float = 0.2
    #: Try again after these exceptions only.
    on: Errors = (Exception,)
    #: Give up at once after these; they win over ``on``.
    give_up_on: Errors = ()

    def __post_init__(self) -> None:
        if isinstance(self.retries, bool) or not isinstance(self.retries, int):
            raise InvalidType(
                f"retries: an int is needed, not {type(self.retries).__name__}."
            )
        for name in ("retries", "delay", "factor", "longest", "jitter"):
            times.check_seconds(name, getattr(self, name), unit="a number")
        if self.factor < 1:
            raise InvalidArgument(f"factor: 1 or more is needed, not {self.factor!r}.")
        if self.longest > CENTURIES:
            raise InvalidArgument(
                f"longest: {self.longest!r} seconds are more than 300 years."
            )
        if self.jitter > 1:
            raise InvalidArgument(f"jitter: from 0 to 1, not {self.jitter!r}.")
        for name in ("on", "give_up_on"):
            object.__setattr__(self, name, _exceptions(name, getattr(self, name)))

    @property
    def is_plain(self) -> bool:
        """Whether its exceptions are Python's own, which can't be gone."""
        return all(cls.__module__ == "builtins" for cls in (*self.on, *self.give_up_on))

    def pause(self, error: BaseException, failures: int, chance: float) -> float | None:
        """Seconds until the next attempt; None to give up.

        ``failures`` is how often the job has failed, with this one; ``chance`` a
        number from 0 to 1.  A TaskError always gives up, and so does what will not
        get better: an output that can't be stored, or does not meet its schema, and
        a principal who is gone.
        """
        hopeless = (*HOPELESS, *self.give_up_on)
        if (
            isinstance(error, hopeless)
            or not isinstance(error, self.on)
            or failures > self.retries
        ):
            return None
        try:
            pause = min(self.delay * self.factor ** (failures - 1), self.longest)
        except OverflowError:
            pause = self.longest if self.delay else 0.0
        return pause * (1 - self.jitter * chance)


#: Never again.
NO_RETRY = RetryPolicy(retries=0)


def check_policy(name: str, policy: object) -> RetryPolicy:
    """An argument that is a policy, or an int: so many retries."""
    if isinstance(policy, RetryPolicy):
        return policy
    if isinstance(policy, int) and not isinstance(policy, bool):
        return RetryPolicy(retries=policy)
    raise InvalidType(
        f"{name}: a RetryPolicy or a number of retries is needed, not "
        f"{type(policy).__name__}."
    )
