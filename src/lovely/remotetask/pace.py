"""How many jobs a worker is to have in hand, from how long they have taken lately."""

from __future__ import annotations

#: A claim takes jobs for about so many seconds, and at most so many a thread; more of
#: those that are finished in groups.  Beyond that, one would hardly save anything.
CLAIM_SECONDS = 0.2
CLAIM_MOST = 100
GROUP_MOST = 250
#: A task that takes less (seconds) leaves nothing to do for other threads meanwhile:
#: the rest of its run is for the interpreter and the storage.
SHORT_TASK = 0.0005
#: Where workers reach for the same jobs, each takes up to so many times as many.
CROWD_MOST = 5
#: With group finish: how long a thread goes on with a group before it commits
#: (seconds).
GROUP_SECONDS = 0.1


class Mean:
    """The mean of all numbers at first, then mostly of the last ones."""

    def __init__(self, value: float) -> None:
        """``value`` is what to assume before there are any."""
        self.value = value
        self._count = 0

    def add(self, total: float, count: int) -> None:
        """So many numbers, and their sum."""
        self._count += count
        share = max(1 - 0.8**count, count / self._count)
        self.value += share * (total / count - self.value)


class Pace:
    """How many jobs to have in hand, from how long they have taken lately.

    The more at a time, the fewer commits; but what has been claimed waits for
    this worker, while others might be free.
    """

    def __init__(self, threads: int, *, groups: bool = False) -> None:
        """``groups``: whether a thread finishes several at a time."""
        self._threads = threads
        self._most = GROUP_MOST if groups else CLAIM_MOST
        #: Seconds of a run, and of the task alone.
        self._run, self._task = Mean(5 * CLAIM_SECONDS), Mean(5 * CLAIM_SECONDS)
        self._last = threads
        #: How many times as many jobs are claimed as would be by a worker alone.
        self._crowd = 1.0

    def took(self, seconds: float, jobs: int = 1) -> None:
        """So many jobs took so long, all together."""
        self._run.add(seconds, jobs)

    def tasks_took(self, seconds: float, tasks: int) -> None:
        """So many calls of tasks took so long, all together."""
        self._task.add(seconds, tasks)

    def is_short(self) -> bool:
        """Whether tasks have been so short lately that one thread may do."""
        return self._task.value < SHORT_TASK

    def claimed(self, *, crowded: bool) -> None:
        """Jobs were claimed; ``crowded`` if others reached for them at the same time.

        That is a conflict.  The more each takes, the less often it happens.
        """
        crowd = 2 * self._crowd if crowded else 0.8 * self._crowd
        self._crowd = min(max(crowd, 1.0), CROWD_MOST)

    def in_hand(self, busy: int) -> int:
        """How many jobs to have claimed: growing step by step, small at once.

        ``busy``: how many threads have run jobs at a time lately.
        """
        ahead = int(self._crowd * self._within(CLAIM_SECONDS))
        self._last = min(max(self._threads, busy * (1 + ahead)), 2 * self._last)
        return self._last

    def in_group(self, waiting: int, busy: int) -> int:
        """How many of the jobs that wait a thread is to take for a group.

        Some are left to the others, but for those that are ``busy``.
        """
        fair = -(-waiting // max(1, self._threads - busy))
        return min(fair, 1 + self._within(GROUP_SECONDS))

    def _within(self, seconds: float) -> int:
        return min(int(seconds / max(self._run.value, 1e-6)), self._most)
