"""Users for tests: who they are, and how to act for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zope.component
from zope.authentication.interfaces import IAuthentication, PrincipalLookupError
from zope.security.management import endInteraction, newInteraction


class User:
    """A principal."""

    def __init__(self, id: str) -> None:
        self.id = self.title = self.description = id
        self.groups: list[str] = []


class Participation:
    """What a request is to an interaction."""

    interaction = None

    def __init__(self, principal: Any) -> None:
        self.principal = principal


class Users:
    """Knows users by their ids, as an authentication utility does."""

    def __init__(self, *ids: str) -> None:
        self.users = {id: User(id) for id in ids}

    def getPrincipal(self, id: str) -> User:
        """A user, or PrincipalLookupError."""
        try:
            return self.users[id]
        except KeyError:
            raise PrincipalLookupError(id) from None


def know_users(*ids: str, registry: Any = None) -> Users:
    """Register users with a registry, globally by default."""
    users = Users(*ids)
    registry = registry or zope.component.getGlobalSiteManager()
    registry.registerUtility(users, IAuthentication)
    return users


@contextmanager
def acting_as(*principals: Any) -> Iterator[None]:
    """Within, these take part in the interaction of this thread."""
    newInteraction(*map(Participation, principals))
    try:
        yield
    finally:
        endInteraction()
