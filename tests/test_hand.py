"""What a worker has in hand, where giving back goes wrong."""

from __future__ import annotations

import pytest

from lovely.remotetask.hand import PATIENCE, Batch, Broken, Hand
from lovely.remotetask.pace import SHORT_TASK
from tests.support import Clocks


class NoWayBack(Exception):
    """The storage fails just now."""


@pytest.fixture
def clocks() -> Clocks:
    """Clocks that stand still until they are told to advance."""
    return Clocks()


@pytest.fixture
def hand(clocks: Clocks) -> Hand:
    """The hand of a worker with two threads."""
    return Hand(2, clocks, groups=False)


def begin(hand: Hand) -> Batch:
    """A thread takes the next job."""
    batch = hand.take()
    assert batch is not None
    return batch


def fail_to_give_back(hand: Hand, clocks: Clocks) -> list[int]:
    """Jobs that have waited for too long should go back, and can't; which."""
    clocks.advance(PATIENCE + 1)
    with pytest.raises(NoWayBack), hand.take_late() as late:
        raise NoWayBack
    return late


def test_what_can_not_be_given_back_is_still_in_hand(
    hand: Hand, clocks: Clocks
) -> None:
    """It waits for a thread, in its place, and is not claimed once more."""
    hand.receive(7, [1, 2], suspect=False)
    assert fail_to_give_back(hand, clocks) == [1, 2]
    assert hand.wants()[1] == {1, 2}
    for jobid in (1, 2):
        batch = begin(hand)
        assert (list(batch.runs), batch.key) == ([jobid], 7)
    assert hand.take() is None


def test_jobs_that_have_become_longer(hand: Hand, clocks: Clocks) -> None:
    """What was claimed as short goes back, though threads take one now and then."""
    hand.receive(7, [1, 2, 3, 4], suspect=False)
    for _ in range(2):
        batch = begin(hand)
        clocks.advance(PATIENCE * 0.6)
        with hand.take_late() as late:
            pass
        hand.done(batch, batch.runs, lost=False)
    assert late == [3, 4]
    assert hand.take() is None


def end(hand: Hand, batch: Batch, took: float | None) -> None:
    """Its job is over; the task took so many seconds, if it has returned."""
    for run in batch.runs.values():
        run.took = took
    hand.done(batch, batch.runs, lost=False)


def test_a_thread_that_is_through_soon(hand: Hand) -> None:
    """As long as tasks are short, that is so of what was begun last."""
    hand.receive(7, [1, 2, 3, 4, 5], suspect=False)
    assert hand.through_soon() is None
    first = begin(hand)
    assert hand.through_soon() is None  # nothing is known yet
    end(hand, first, SHORT_TASK / 10)
    assert hand.through_soon() is None
    second, third = begin(hand), begin(hand)
    assert hand.through_soon() is third
    end(hand, third, None)  # it failed
    assert hand.through_soon() is second
    end(hand, second, 10 * SHORT_TASK)
    begin(hand)
    assert hand.through_soon() is None


def test_threads_that_are_not_needed(hand: Hand, clocks: Clocks) -> None:
    """What is claimed ahead is for those who have run jobs, not for all."""

    def run(at_once: int) -> int:
        hand.receive(7, list(range(at_once)), suspect=False)
        batches = [begin(hand) for _ in range(at_once)]
        clocks.advance(1 / 64)
        for batch in batches:
            end(hand, batch, 0.0)
        return hand.wants()[0]

    assert [run(1) for _ in range(20)][-1] == 1 + 12
    assert [run(2) for _ in range(20)][-1] == 2 * (1 + 12)
    assert run(1) == 1 + 12


def test_a_suspect_that_can_not_be_given_back(hand: Hand, clocks: Clocks) -> None:
    """A suspect stays the only one until it is over."""
    hand.receive(7, [1], suspect=True)
    fail_to_give_back(hand, clocks)
    assert hand.wants()[1:] == ({1}, False)
    batch = begin(hand)
    assert hand.done(batch, batch.runs, lost=False)
    assert hand.wants()[1:] == (set(), True)


def test_a_suspect_that_is_given_back(hand: Hand, clocks: Clocks) -> None:
    """Until its claim is given back for good, no other is taken."""
    hand.receive(7, [1], suspect=True)
    clocks.advance(PATIENCE + 1)
    with hand.take_late() as late:
        assert late == [1]
        assert hand.wants()[1:] == ({1}, False)
        assert hand.take() is None
    assert hand.wants()[1:] == (set(), True)


def test_a_worker_that_is_lost_meanwhile(hand: Hand, clocks: Clocks) -> None:
    """What a lost worker could not give back is not in hand any more."""
    hand.receive(7, [1], suspect=True)
    clocks.advance(PATIENCE + 1)

    def lose_it() -> None:
        hand.give_up()
        raise NoWayBack

    with pytest.raises(NoWayBack), hand.take_late():
        lose_it()
    assert hand.take() is None
    assert hand.wants()[1:] == (set(), True)


def test_what_was_given_back_unheard(hand: Hand, clocks: Clocks) -> None:
    """If it was done nevertheless, and the job is claimed again, it is there once."""
    hand.receive(7, [1], suspect=False)
    fail_to_give_back(hand, clocks)
    hand.receive(7, [1, 2], suspect=False)
    assert hand.take_all() == [1, 2]
    hand.receive(7, [3], suspect=False)
    assert hand.take() is not None
    hand.receive(7, [3], suspect=False)
    assert hand.take() is None


@pytest.mark.parametrize("way", ["given back", "stopped", "lost"])
def test_no_trouble_is_kept_for_ever(hand: Hand, clocks: Clocks, way: str) -> None:
    """What a job has broken is forgotten when it is not in hand any more."""
    hand.receive(7, [1], suspect=False)
    hand.apart([1], Broken(2, NoWayBack()))
    if way == "given back":
        clocks.advance(PATIENCE + 1)
        with hand.take_late():
            assert hand.troubles(1).times == 2
    elif way == "stopped":
        hand.take_all()
    else:
        batch = begin(hand)
        hand.done(batch, [], lost=True)
    assert hand.troubles(1) == Broken()
