"""Whether a value can be stored in the database, before it is too late.

ZODB pickles at commit.  A value that can't be pickled would break the whole
transaction there; asked beforehand, it is an error of the one job.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from persistent import Persistent

from lovely.remotetask.errors import Unpicklable

#: Surely can be stored; most inputs and outputs are one of these.
_PLAIN = (type(None), bool, int, float, str, bytes)


class _Pickler(pickle.Pickler):
    """Pickles as ZODB does: persistent objects, and classes of them, by name."""

    def persistent_id(self, obj: Any) -> str | None:
        return "persistent" if isinstance(obj, Persistent) else None


def check_picklable(value: object, what: str) -> None:
    """Raise Unpicklable, naming ``what``, if ``value`` can't be pickled."""
    if type(value) in _PLAIN:
        return
    try:
        _Pickler(io.BytesIO(), protocol=3).dump(value)
    except Exception as error:
        raise Unpicklable(
            f"{what} can't be stored, because it can't be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error
