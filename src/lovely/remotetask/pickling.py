"""Whether a value can be stored in the database, before it is too late.

ZODB pickles at commit.  A value that can't be pickled would break the whole
transaction there; asked beforehand, it is an error of the one job.  One that can't
be loaded again would be worse: nobody could look at that job any more, neither
processors nor ``clean``.
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


class _Unpickler(pickle.Unpickler):
    """Loads what a `_Pickler` has pickled."""

    def __init__(self, file: io.BytesIO, others: list[Any]) -> None:
        super().__init__(file)
        self._others = others

    def persistent_load(self, pid: int) -> Any:
        return self._others[pid]


class _Pickler(pickle.Pickler):
    """Pickles as ZODB does: persistent objects, and classes of them, by name."""

    jar: Any = None

    def __init__(self) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=3)
        #: Objects with records of their own, or references to such.
        self._others: list[Any] = []

    @property
    def new(self) -> list[Any]:
        """Persistent objects that are in no database yet."""
        persistent = (obj for obj in self._others if isinstance(obj, Persistent))
        return [obj for obj in persistent if obj._p_jar is None]

    def persistent_id(self, obj: Any) -> int | None:
        if isinstance(obj, Persistent):
            self._check_connection(obj)
        elif not isinstance(obj, WeakRef):
            return None
        self._others.append(obj)
        return len(self._others) - 1

    def load(self) -> Any:
        """Load what was pickled."""
        self._file.seek(0)
        return _Unpickler(self._file, self._others).load()

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
    return _dump(value, what, jar).new


def check_storable(value: object, what: str, jar: Any = None) -> Any:
    """The same, and if it can't be loaded again then; the value as it would be.

    Exceptions with several arguments are often of that kind.
    """
    if type(value) in _PLAIN:
        return value
    pickler = _dump(value, what, jar)
    try:
        return pickler.load()
    except Exception as error:
        raise Unpicklable(
            f"{what} can't be stored, because it could not be loaded again: "
            f"{type(error).__name__}: {error}"
        ) from error


def _dump(value: object, what: str, jar: Any) -> _Pickler:
    pickler = _Pickler()
    pickler.jar = jar
    try:
        pickler.dump(value)
    except Exception as error:
        raise Unpicklable(
            f"{what} can't be stored, because it can't be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error
    return pickler


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
