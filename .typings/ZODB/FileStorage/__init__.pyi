from typing import Any

from ZODB._types import Storage

class FileStorage(Storage):
    def __init__(
        self,
        file_name: str,
        create: bool = False,
        read_only: bool = False,
        stop: bytes | None = None,
        quota: int | None = None,
        pack_gc: bool = True,
        pack_keep_old: bool = True,
        packer: Any = None,
        blob_dir: str | None = None,
    ) -> None: ...
