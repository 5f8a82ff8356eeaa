"""Whether a value can be stored in the database, before it is too late.

ZODB pickles at commit.  A value that can't be pickled would break the whole
transaction there; asked beforehand, it is an error of the one job.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from persistent import Persistent
from persistent.wref import WeakRef

from lovely.remotetask.errors import Unpicklable

#: Surely can be stored; most inputs and outputs are one of these.
_PLAIN = (type(None), bool, int, float, str, bytes)


class _Pickler(pickle.Pickler):
    """Pickles as ZODB does: persistent objects, and classes of them, by name."""

    jar: Any = None

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, Persistent):
            self._check_connection(obj)
            return "persistent"
        return "reference" if isinstance(obj, WeakRef) else None

    def _check_connection(self, obj: Any) -> None:
        """Databases that are used together share a mapping of connections."""
        jars = [jar for jar in (self.jar, obj._p_jar) if jar is not None]
        if len({id(jar.connections) for jar in jars}) > 1:
            raise ValueError(f"{type(obj).__name__} is of another connection")


def check_picklable(value: object, what: str, jar: Any = None) -> None:
    """Raise Unpicklable, naming ``what``, if ``value`` can't be pickled.

    ``jar`` is the connection that it is to be stored through, or None.
    """
    if type(value) in _PLAIN:
        return
    try:
        pickler = _Pickler(io.BytesIO(), protocol=3)
        pickler.jar = jar
        pickler.dump(value)
    except Exception as error:
        raise Unpicklable(
            f"{what} can't be stored, because it can't be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error
