from typing import Any

from ZODB._types import Storage
from ZODB.DB import DB as _DB

class MappingStorage(Storage):
    def __init__(self, name: str = "MappingStorage") -> None: ...

def DB(*args: Any, **kw: Any) -> _DB: ...
