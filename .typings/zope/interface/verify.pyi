from typing import Literal

from zope.interface import InterfaceClass

def verifyObject(
    iface: InterfaceClass, candidate: object, tentative: bool = False
) -> Literal[True]: ...
def verifyClass(
    iface: InterfaceClass, candidate: type, tentative: bool = False
) -> Literal[True]: ...
