"""``python -m lovely.remotetask.web.password NAME``: a line for the file of passwords.

The password is asked for, or read from standard input if that is no terminal.
"""

from __future__ import annotations

import getpass
import sys

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.web.authentication import hashed


def main(arguments: list[str]) -> int:
    """Print the line; the exit status."""
    if len(arguments) != 1 or not arguments[0] or ":" in arguments[0]:
        sys.stderr.write("usage: python -m lovely.remotetask.web.password NAME\n")
        return 2
    try:
        line = f"{arguments[0]}:{hashed(_ask())}\n"
    except InvalidArgument as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(line)
    return 0


def _ask() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise InvalidArgument("The two passwords differ.")
    return password


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
