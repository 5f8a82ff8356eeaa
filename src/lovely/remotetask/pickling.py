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

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), protocol=3)
        #: Persistent objects that are in no database yet.
        self.new: list[Any] = []

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, Persistent):
            self._check_connection(obj)
            if obj._p_jar is None:
                self.new.append(obj)
            return "persistent"
        return "reference" if isinstance(obj, WeakRef) else None

    def _check_connection(self, obj: Any) -> None:
        """Databases that are used together share a mapping of connections."""
        jars = [jar for jar in (self.jar, obj._p_jar) if jar is not None]
        if len({id(jar.connections) for jar in jars}) > 1:
            raise ValueError(f"{type(obj).__name__} is of another connection")


def check_picklable(value: object, what: str, jar: Any = None) -> list[Any]:
    """Raise Unpicklable, naming ``what``, if ``value`` can't be pickled.

    ``jar`` is the connection that it is to be stored through, or None.  Return
    the new persistent objects in it, which have not been looked into.
    """
    if type(value) in _PLAIN:
        return []
    pickler = _Pickler()
    pickler.jar = jar
    try:
        pickler.dump(value)
    except Exception as error:
        raise Unpicklable(
            f"{what} can't be stored, because it can't be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error
    return pickler.new


def check_changes(jar: Any) -> None:
    """Raise Unpicklable if what was written since a savepoint can't be stored.

    The next savepoint would tell too, but nothing could be rolled back then.
    """
    todo, seen = list(jar._registered_objects), set()
    while todo:
        obj = todo.pop()
        if id(obj) not in seen:
            seen.add(id(obj))
            what = f"What was written to {type(obj).__name__}"
            todo += check_picklable(obj.__getstate__(), what, jar)
