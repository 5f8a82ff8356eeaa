"""The command ``remotetask``, for operators and for a first look.

It needs the extra ``cli``; the script is installed without it too, so it says
what is missing instead of failing with a traceback.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["main"]

main: Any
try:
    # Those that commands import when they need them.
    import rich  # noqa: F401
    import zodburi  # noqa: F401

    from lovely.remotetask.cli.commands import main
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in {"click", "rich", "zodburi"}:
        raise

    def main(**kwargs: object) -> None:
        """Say how to install what the command needs."""
        sys.exit(
            f"remotetask: {missing} is not installed. Install the extra it comes "
            "with: pip install 'lovely.remotetask[cli]'"
        )
