"""A task that forks: its child must not come back into the library.

There it would finish the job a second time, and go on as a worker, with its parent's
files and connections.
"""

from __future__ import annotations

import os
import sys
import traceback


class parent_only:  # noqa: N801 - used as a function
    """Whoever leaves the block in a process that was forked within ends there.

    It does so as a program does that comes to its end, calls ``sys.exit`` or raises
    another exception; but what the parent has to do at its exit is left to that.
    """

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        if os.getpid() != self._process:
            end(error)


def end(error: BaseException | None) -> None:
    """End this process at once, with the exit status that the exception asks for."""
    code = 1
    try:
        if error is None:
            code = 0
        elif not isinstance(error, SystemExit):
            traceback.print_exception(error)
        elif error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            sys.stderr.write(f"{error.code}\n")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)
