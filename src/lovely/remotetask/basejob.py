"""What every job has: its data, its status, its attempts."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from persistent import Persistent

from lovely.remotetask import ancestor, states, times, values
from lovely.remotetask.attempts import Attempt, Failure
from lovely.remotetask.environment import Environment
from lovely.remotetask.pickling import check_storable
from lovely.remotetask.retry import RetryPolicy, check_policy
from lovely.remotetask.times import Clock

#: So many failures of a job are kept.
KEPT_FAILURES = 5

#: In a record: the status's place among STATUSES, and these numbers.  ZODB looks at
#: each object in a record, and one string of bytes is only one.
_NUMBERS = ("id", "_created", "attempt", "claimant", "_started", "_completed")
_PACKED = struct.Struct(f"<B{len(_NUMBERS)}q")
_CODES = {status: code for code, status in enumerate(states.STATUSES)}
#: Where a number has its usual value.
_NONE = -(2**63)
_COMMON = frozenset({*_NUMBERS, "_status", "task", "_input", "_output", "_v_begun"})


class BaseJob(Persistent):
    """What is common to jobs; see `IJob`.

    What has its usual value is not kept: the class has it.
    """

    id: int = 0
    task: str = ""
    #: How many attempts have begun: counted before the task runs.
    attempt: int = 0
    #: The key of the worker that took the job last; None if none did.
    claimant: int | None = None
    #: For how long it may run (seconds), if the job says.
    timeout: float | None = None
    #: The id of the principal who added it; None if nobody did, but the system.
    principal: str | None = None
    #: How often it has failed since it was queued by hand.
    failed: int = 0
    #: How many workers were lost while they held the job.
    crashes: int = 0

    #: Where its trace began, if it is traced: kept for `lovely.remotetask.tracing`.
    _trace: Mapping[str, str] | None = None
    #: What the record holds for them; see `lovely.remotetask.values`.
    _input: Any = None
    _output: Any = None
    _retry: Any = None
    _status = states.QUEUED
    _created = 0
    #: The time of its entry in a lane's log; None where its slot is its place.
    _queued: int | None = None
    #: When it becomes due, if it was given a time.
    _due: int | None = None
    #: Whether that was a delay, which counts from the time a processor is given.
    _relative = False
    _started: int | None = None
    _completed: int | None = None
    #: When the last attempt in this connection began, written or not.
    _v_begun: int | None = None
    #: The last failed attempts: (number, started, ended, type, message, traceback).
    #: ``started`` is None where a worker was lost.
    _failures: tuple[tuple[int, int | None, int, str, str, str], ...] = ()

    def __init__(
        self, id: int, task: str, input: Any = None, created: int | None = None
    ) -> None:
        """``created`` is in microseconds since the epoch; now by default."""
        self.id = id
        self.task = task
        if input is not None:
            self.input = input
        if created is None:
            created = times.from_seconds(Environment().time())
        self._created = created

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r}>"

    # Both are called for each job that is claimed, and again at its end.

    def __getstate__(self) -> tuple[Any, ...]:
        """What nearly every job has is packed; the rest is a dict, if there is any."""
        own = vars(self)
        packed = _PACKED.pack(
            _CODES[self._status],
            *[_NONE if n is None else n for n in map(own.get, _NUMBERS)],
        )
        rest = None
        if not _COMMON.issuperset(own):
            rest = {
                name: value
                for name, value in own.items()
                if name not in _COMMON and not name.startswith(("_p_", "_v_"))
            }
        return packed, self.task, self._input, self._output, rest or None

    def __setstate__(self, state: tuple[Any, ...] | dict[str, Any]) -> None:
        own = vars(self)
        own.clear()
        if isinstance(state, dict):
            own.update(ancestor.attributes(state))
            return
        packed, own["task"], input, output, rest = state
        status, *numbers = _PACKED.unpack(packed)
        own["_status"] = states.STATUSES[status]
        for name, number in zip(_NUMBERS, numbers, strict=True):
            if number != _NONE:
                own[name] = number
        if input is not None:
            own["_input"] = input
        if output is not None:
            own["_output"] = output
        if rest is not None:
            own.update(rest)

    @property
    def input(self) -> Any:
        return values.loaded(self._input, f"The input of job {self.id}")

    @input.setter
    def input(self, value: Any) -> None:
        self._input = values.kept(value)

    @property
    def output(self) -> Any:
        return values.loaded(self._output, f"The output of job {self.id}")

    @output.setter
    def output(self, value: Any) -> None:
        self._output = values.kept(value)

    @property
    def retry(self) -> RetryPolicy | None:
        """When to try again, if the job says.  Raise CannotLoad."""
        policy: RetryPolicy | None = values.loaded(
            self._retry, f"The retry policy of job {self.id}"
        )
        return policy

    @retry.setter
    def retry(self, policy: RetryPolicy | None) -> None:
        # A class that is gone can't be pickled again, which each claim would do.
        plain = policy is None or policy.is_plain
        self._retry = policy if plain else values.Value(policy)

    def keep_input(self, jar: Any) -> None:
        """The task may have changed it, and it is stored with the output.

        ``jar``: the connection of that.  Raise Unpicklable.
        """
        check_storable(self._input, f"The input of task {self.task!r}", jar)
        if not values.is_plain(self._input):
            self.input = self._input

    @property
    def status(self) -> str:
        return self._status

    def enter(self, status: str, *, new: bool = False) -> None:
        """Change the status: the only place that does.

        Called by a lane's writer, which counts the change, and at the end of a
        worker's attempt, which is counted when it is settled.  Raise
        InvalidTransition.
        """
        if not new:
            states.check_transition(self._status, status)
        if status != self._status:
            self._status = status

    @property
    def stamp(self) -> int:
        """When the job was asked for: its place in the queue (microseconds)."""
        return self._created if self._queued is None else self._queued

    def queue_at(self, moment: int) -> None:
        """The job asks for a place in the queue, anew."""
        self._queued = moment

    def leave_place(self) -> None:
        """The job is taken out of turn: its old place is none, if it goes back."""
        self._queued = self.stamp + 1

    def limit(self, retry: RetryPolicy | int | None, timeout: float | None) -> None:
        """Set when to try again, and for how long it may run, if given.

        Raise InvalidType, InvalidArgument or Unpicklable.
        """
        if retry is not None:
            policy = check_policy("retry", retry)
            check_storable(policy, "retry: the policy")
            self.retry = policy
        if timeout is not None:
            self.timeout = float(times.check_seconds("timeout", timeout))

    def start_over(self, moment: int) -> None:
        """The job is queued by hand: what went wrong is not held against it."""
        self.queue_at(moment)
        self.failed = self.crashes = 0
        self.claimant = None

    def wait_until(self, due: int, *, relative: bool) -> None:
        """The job becomes due at a moment; ``relative`` if that was a delay."""
        self._due = due
        if relative != self._relative:
            self._relative = relative

    def due_at(self, clock: Clock) -> int | None:
        """When it is due, by a processor's clock; None if it is to be left alone."""
        due = self._due or 0
        return due + clock.shift if self._relative else due

    @property
    def place(self) -> int | None:
        """The time of its entry in the schedule, if one counts."""
        return self._due

    def wait_in_schedule(self, due: int | None) -> None:
        """Its entry in the schedule is this now."""
        if self._due != due:
            self._due = due

    def claimed(self, clock: Clock) -> None:
        """It is about to be claimed: what waits for a time may note what for."""

    def unclaimed(self) -> str:
        """The status that it goes back to, if it was claimed and not begun."""
        return states.QUEUED

    def has_time_until(self, moment: int) -> bool:
        """Whether another attempt may wait until then."""
        return True

    def after(self, status: str, *, cancelled: bool = False) -> str:
        """The last attempt ended with this status; the one that the job has now.

        ``cancelled``: whether somebody has asked for that.
        """
        return status

    @property
    def waits_since(self) -> int:
        """Since when it could have been run, when an attempt begins."""
        return max(self.stamp, self._due or 0)

    def begin(self, moment: int, *, write: bool = True) -> None:
        """An attempt begins.  Its task can see it, whether it is written or not."""
        self._v_begun = moment
        if write:
            self._started = moment

    def succeed(self, output: Any, started: int, moment: int) -> None:
        """Note that the attempt went well, with this output."""
        if output is not None or self._output is not None:
            self.output = output
        self._end(started, moment)

    def fail(self, failure: Failure, started: int, moment: int) -> None:
        """Note that the attempt failed."""
        self._note_failure(failure, started, moment)
        self.failed += 1
        self._end(started, moment)

    def note_crash(self, failure: Failure, moment: int) -> None:
        """Note that a worker was lost with it: a crash is no failure of the task's.

        Whether the attempt had begun, nobody knows.
        """
        self._note_failure(failure, None, moment)

    def _note_failure(self, failure: Failure, started: int | None, moment: int) -> None:
        record = (self.attempt, started, moment, *failure)
        self._failures = (*self._failures, record)[-KEPT_FAILURES:]

    def _end(self, started: int, moment: int) -> None:
        self._started = started
        self._completed = moment

    @property
    def failure(self) -> Failure | None:
        """The last failure, unless the job has completed since."""
        if self._failures and self._status != states.COMPLETED:
            return Failure(*self._failures[-1][3:])
        return None

    @property
    def error(self) -> str | None:
        failure = self.failure
        return None if failure is None else str(failure)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        done = [
            Attempt(
                number,
                times.to_datetime(started),
                times.to_datetime(ended),
                Failure(*failure),
            )
            for number, started, ended, *failure in self._failures
        ]
        if self._status == states.COMPLETED:
            done.append(Attempt(self.attempt, self.started, self.completed, None))
        return tuple(done)

    @property
    def created(self) -> datetime | None:
        return times.to_datetime(self._created)

    @property
    def started(self) -> datetime | None:
        return times.to_datetime(self._v_begun or self._started)

    @property
    def completed(self) -> datetime | None:
        return times.to_datetime(self._completed)

    @property
    def scheduledFor(self) -> datetime | None:
        return times.to_datetime(self._due)
