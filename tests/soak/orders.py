"""What is stored beside the jobs: what was asked for, and what became of it."""

from __future__ import annotations

from persistent import Persistent

NAME = "service"
SHARED = "shared"


class Order(Persistent):
    """The input of a job: its task writes here, and so does who hears of its end."""

    #: How often its effect was had: once, or not at all.
    done = 0
    #: How often the job has ended, and was queued again by hand after that.
    ended = 0
    retried = 0

    def __init__(self, kind: str, producer: int, shared: Shared) -> None:
        self.kind = kind
        self.producer = producer
        self.shared = shared


class Shared(Persistent):
    """What many jobs write, so that they conflict."""

    value = 0
