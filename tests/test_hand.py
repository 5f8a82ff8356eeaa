"""What a worker has in hand, where giving back goes wrong."""

from __future__ import annotations

import pytest

from lovely.remotetask.hand import PATIENCE, SHORT_RUN, Broken, Hand
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
        batch = hand.take()
        assert batch is not None
        assert (list(batch.runs), batch.key) == ([jobid], 7)
    assert hand.take() is None


def test_a_thread_that_is_through_soon(hand: Hand, clocks: Clocks) -> None:
    """What comes next is left to it, until its run has turned out not to be short."""
    hand.receive(7, [1, 2, 3], suspect=False)
    assert not hand.left_to_others()
    first = hand.take()
    assert hand.left_to_others() == pytest.approx(SHORT_RUN)
    clocks.advance(SHORT_RUN / 2)
    assert hand.left_to_others() == pytest.approx(SHORT_RUN / 2)
    clocks.advance(SHORT_RUN)
    assert not hand.left_to_others()
    second = hand.take()
    assert hand.left_to_others() == pytest.approx(SHORT_RUN)
    for batch in (second, first):
        assert batch is not None
        hand.done(batch, batch.runs, lost=False)
        assert not hand.left_to_others()


def test_a_suspect_that_can_not_be_given_back(hand: Hand, clocks: Clocks) -> None:
    """A suspect stays the only one until it is over."""
    hand.receive(7, [1], suspect=True)
    fail_to_give_back(hand, clocks)
    assert hand.wants()[1:] == ({1}, False)
    batch = hand.take()
    assert batch is not None
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
        batch = hand.take()
        assert batch is not None
        hand.done(batch, [], lost=True)
    assert hand.troubles(1) == Broken()
