"""Annotations of services and jobs, where zope.annotation keeps them.

That is an attribute ``__annotations__`` of the object.  Classes have one of that name,
too, for Python's own annotations; what zope.annotation would write without an
attribute of the object's own would go there, and be lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from BTrees.OOBTree import OOBTree
from zope.annotation.interfaces import IAnnotations
from zope.interface import implementer


@implementer(IAnnotations)
class Annotations(MutableMapping[str, Any]):
    """The annotations of a persistent object: an adapter."""

    def __init__(self, obj: Any) -> None:
        self.__parent__ = obj

    def __getitem__(self, key: str) -> Any:
        return self._own[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not self._own:
            self.__parent__.__annotations__ = OOBTree()
        self._own[key] = value

    def __delitem__(self, key: str) -> None:
        del self._own[key]

    def __bool__(self) -> bool:
        return bool(self._own)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    @property
    def _own(self) -> Any:
        """What the object has, not its class."""
        self.__parent__._p_activate()
        nothing: Mapping[str, Any] = {}
        return vars(self.__parent__).get("__annotations__", nothing)
