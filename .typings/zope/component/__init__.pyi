from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from zope.component.globalregistry import (
    getGlobalSiteManager as getGlobalSiteManager,
)
from zope.component.globalregistry import globalSiteManager as globalSiteManager
from zope.component.globalregistry import provideAdapter as provideAdapter
from zope.component.globalregistry import provideHandler as provideHandler
from zope.component.globalregistry import provideUtility as provideUtility
from zope.interface import InterfaceClass
from zope.interface import named as named
from zope.interface.interfaces import ComponentLookupError as ComponentLookupError

_T = TypeVar("_T")

def getSiteManager(context: Any = None) -> Any: ...
def getUtility(
    interface: InterfaceClass, name: str = "", context: Any = None
) -> Any: ...
def queryUtility(
    interface: InterfaceClass, name: str = "", default: Any = None, context: Any = None
) -> Any: ...
def getUtilitiesFor(
    interface: InterfaceClass, context: Any = None
) -> Iterator[tuple[str, Any]]: ...
def getAllUtilitiesRegisteredFor(
    interface: InterfaceClass, context: Any = None
) -> Iterable[Any]: ...
def getAdapter(
    object: Any, interface: InterfaceClass = ..., name: str = "", context: Any = None
) -> Any: ...
def queryAdapter(
    object: Any,
    interface: InterfaceClass = ...,
    name: str = "",
    default: Any = None,
    context: Any = None,
) -> Any: ...
def getMultiAdapter(
    objects: tuple[Any, ...],
    interface: InterfaceClass = ...,
    name: str = "",
    context: Any = None,
) -> Any: ...
def queryMultiAdapter(
    objects: tuple[Any, ...],
    interface: InterfaceClass = ...,
    name: str = "",
    default: Any = None,
    context: Any = None,
) -> Any: ...
def subscribers(
    objects: Iterable[Any], interface: InterfaceClass | None, context: Any = None
) -> list[Any]: ...
def handle(*objects: Any) -> None: ...

class adapter:
    def __init__(self, *interfaces: InterfaceClass | type) -> None: ...
    def __call__(self, ob: _T) -> _T: ...
