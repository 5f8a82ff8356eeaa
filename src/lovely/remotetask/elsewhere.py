"""Names that a module has always had, though what they stand for needs an extra now."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from lovely.remotetask.errors import NotInstalled


def elsewhere(
    module: str, extra: str, names: Mapping[str, str]
) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module: names, and the modules that have them now.

    These are imported when somebody asks, and not before.  It raises NotInstalled (an
    ImportError) if that can't be done without the extra.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        try:
            found = importlib.import_module(names[name])
        except ModuleNotFoundError as error:
            raise NotInstalled(f"{module}.{name}", extra) from error
        return getattr(found, name)

    return find
