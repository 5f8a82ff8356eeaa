"""The configuration of an application for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zope.component.globalregistry import base
from zope.configuration import xmlconfig
from zope.testing.cleanup import cleanUp


@contextmanager
def configure() -> Iterator[dict[str, Any]]:
    """Yield what the configuration registers; the rest of it is global, within."""
    kept = dict(vars(base))
    cleanUp()
    base.__init__("base")  # type: ignore[misc]
    xmlconfig.file(str(Path(__file__).with_name("site.zcml")))
    registered = dict(vars(base))
    vars(base).update(kept)
    yield registered
    cleanUp()
    vars(base).update(kept)
