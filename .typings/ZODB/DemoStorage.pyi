from typing import Any

from ZODB._types import Storage

class DemoStorage(Storage):
    base: Any
    changes: Any
    def __init__(
        self,
        name: str | None = None,
        base: Any = None,
        changes: Any = None,
        close_base_on_close: bool | None = None,
        close_changes_on_close: bool | None = None,
    ) -> None: ...
    def push(self, changes: Any = None) -> DemoStorage: ...
    def pop(self) -> Any: ...
