from collections.abc import Callable, Iterable, Iterator
from typing import Any

from zope.interface import InterfaceClass

class Components:
    __name__: str
    __bases__: tuple[Components, ...]
    def __init__(self, name: str = "", bases: tuple[Components, ...] = ()) -> None: ...
    def registerUtility(
        self,
        component: Any = None,
        provided: InterfaceClass | None = None,
        name: str = "",
        info: str = "",
        event: bool = True,
        factory: Callable[..., Any] | None = None,
    ) -> None: ...
    def unregisterUtility(
        self,
        component: Any = None,
        provided: InterfaceClass | None = None,
        name: str = "",
        factory: Callable[..., Any] | None = None,
    ) -> bool: ...
    def registeredUtilities(self) -> Iterator[Any]: ...
    def queryUtility(
        self, provided: InterfaceClass, name: str = "", default: Any = None
    ) -> Any: ...
    def getUtility(self, provided: InterfaceClass, name: str = "") -> Any: ...
    def getUtilitiesFor(
        self, interface: InterfaceClass
    ) -> Iterator[tuple[str, Any]]: ...
    def getAllUtilitiesRegisteredFor(
        self, interface: InterfaceClass
    ) -> Iterable[Any]: ...
    def registerAdapter(
        self,
        factory: Callable[..., Any],
        required: Iterable[Any] | None = None,
        provided: InterfaceClass | None = None,
        name: str = "",
        info: str = "",
        event: bool = True,
    ) -> None: ...
    def registerHandler(
        self,
        factory: Callable[..., Any],
        required: Iterable[Any] | None = None,
        name: str = "",
        info: str = "",
        event: bool = True,
    ) -> None: ...
    def unregisterHandler(
        self,
        factory: Callable[..., Any] | None = None,
        required: Iterable[Any] | None = None,
        name: str = "",
    ) -> bool: ...
