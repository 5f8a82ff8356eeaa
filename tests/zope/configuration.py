"""ZCML for tests."""

from __future__ import annotations

from typing import Any

from zope.configuration import xmlconfig

HEAD = (
    '<configure xmlns="http://namespaces.zope.org/zope"'
    ' xmlns:remotetask="http://namespaces.lovelysystems.com/remotetask"'
    ' i18n_domain="tests">'
)
INCLUDE = '<include package="lovely.remotetask" />'


def configure(text: str = "", *, first: str = "", execute: bool = True) -> Any:
    """Execute ZCML, with the package included, within a package of tests.

    ``first`` comes before the package.
    """
    context = xmlconfig.ConfigurationMachine()
    xmlconfig.registerCommonDirectives(context)
    import tests.zope

    context.package = tests.zope
    return xmlconfig.string(
        f"{HEAD}{first}{INCLUDE}{text}</configure>", context, execute=execute
    )
