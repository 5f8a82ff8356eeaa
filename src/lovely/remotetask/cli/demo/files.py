"""The files below a directory, and what is in one of them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from lovely.remotetask import TaskError

#: How much of a file is read at a time.
CHUNK = 2**20

#: Since it was listed, a file may have become a link, or a pipe that nobody ever
#: writes to: do not follow the one, nor wait for the other.
SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

#: Why such a file can't be inspected.
REPLACED = "It is no regular file any more"


class Content(NamedTuple):
    """What is in a file."""

    size: int
    sha256: str


def files_below(
    directory: Path,
    on_error: Callable[[OSError], object],
    leave_out: Collection[str] = (),
) -> Iterator[str]:
    """The paths, relative to the directory, of all regular files below it.

    ``on_error`` is told of each folder that can't be listed; folders with a name in
    ``leave_out`` are not.  Only the folder that is just being listed and the names of
    those to come are in memory.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(directory / folder) as entries:
                for entry in entries:
                    path = folder + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in leave_out:
                            folders.append(f"{path}/")
                    elif entry.is_file(follow_symlinks=False):
                        yield path
        except OSError as error:
            on_error(error)


def inspect_file(path: Path) -> Content:
    """Read a file.  Raise TaskError, with the reason, if that can't be done."""
    try:
        with open(path, "rb", buffering=0, opener=_open_safely) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise TaskError(REPLACED)
            # Not to the end: a log may grow faster than it is read.
            return _digest(file.read, status.st_size)
    except OSError as error:
        # The system's words for a link that is not followed would mislead.
        linked = error.errno == errno.ELOOP
        raise TaskError(REPLACED if linked else reason_of(error)) from error


def reason_of(error: OSError) -> str:
    """What went wrong, without the name of the file."""
    return error.strerror or str(error)


def _open_safely(path: str, flags: int) -> int:
    return os.open(path, flags | SAFELY)


def _digest(read: Callable[[int], bytes], most: int) -> Content:
    digest, size = hashlib.sha256(), 0
    while chunk := read(min(CHUNK, most - size)):
        digest.update(chunk)
        size += len(chunk)
    return Content(size, digest.hexdigest())
