"""What the dashboard was made with, in one value that its parts share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from lovely.remotetask.web.masking import Mask
from lovely.remotetask.web.store import Store

#: Who asks: their name, a str; None if they are nobody who may look.
Authentication = Callable[[Any], "str | None"]


@dataclass(frozen=True)
class Settings:
    """See `make_app`."""

    store: Store
    allow_changes: bool | Callable[[str], bool]
    authentication: Authentication | None
    mask: Mask
    tasks: Collection[str]
    title: str
    refresh: float

    def may_change(self, user: str) -> bool:
        """Whether somebody may change jobs; nobody, ``""``, may not."""
        allowed = self.allow_changes
        return (
            bool(user) and bool(allowed(user)) if callable(allowed) else bool(allowed)
        )
