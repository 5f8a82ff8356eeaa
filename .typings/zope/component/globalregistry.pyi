from collections.abc import Callable, Iterable
from typing import Any

from zope.interface import InterfaceClass
from zope.interface.registry import Components

class BaseGlobalComponents(Components): ...

base: BaseGlobalComponents
globalSiteManager: BaseGlobalComponents

def getGlobalSiteManager() -> BaseGlobalComponents: ...
def provideUtility(
    component: Any, provides: InterfaceClass | None = None, name: str = ""
) -> None: ...
def provideAdapter(
    factory: Callable[..., Any],
    adapts: Iterable[Any] | None = None,
    provides: InterfaceClass | None = None,
    name: str = "",
) -> None: ...
def provideHandler(
    factory: Callable[..., Any], adapts: Iterable[Any] | None = None
) -> None: ...
