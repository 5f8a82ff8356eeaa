"""What other packages add, found by their entry points.

The core imports none of the libraries that its extras need.  An adapter, of this
package or of another one, names itself in its packaging instead, under a group::

    [project.entry-points."lovely.remotetask.cron"]
    cronsim = "lovely.remotetask.cron:parse"
"""

from __future__ import annotations

import functools
import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Any

log = logging.getLogger("lovely.remotetask")


def load(group: str) -> list[Any]:
    """The objects that installed packages name under this group, by their names.

    What can't be loaded is logged and left out.  Asked once per process: packages
    do not come and go while it runs.
    """
    return list(_load(group))


@functools.cache
def _load(group: str) -> tuple[Any, ...]:
    found = sorted(entry_points(group=group), key=lambda entry: entry.name)
    loaded = [_object(entry) for entry in found]
    return tuple(plugin for plugin in loaded if plugin is not None)


def _object(entry: EntryPoint) -> Any:
    """What an entry point names, or None if it can't be loaded."""
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        # An extra that is not installed is no fault: its entry point is always there.
        if not _is_foreign(error.name, entry):
            log.exception("plug-in %s of %s is broken", entry.value, entry.group)
        else:
            log.debug("plug-in %s needs %s", entry.value, error.name)
    except Exception:
        log.exception("plug-in %s of %s is broken", entry.value, entry.group)
    return None


def _is_foreign(name: str | None, entry: EntryPoint) -> bool:
    """Whether a missing module is another library, not the plug-in itself."""
    return name is not None and not f"{entry.module}.".startswith(f"{name}.")
