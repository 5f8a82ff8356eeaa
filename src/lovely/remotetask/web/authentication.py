"""Who asks: basic authentication from a file, and the hook for applications.

A policy is a callable: it is given the request (a Pyramid one) and returns the name
of who asks, a str, or None for nobody.  It may raise an exception of
``pyramid.httpexceptions``, such as a redirection to a form.  If it has an attribute
``challenge``, that is sent to those whom it does not know.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import math
import os
import secrets
import threading
from pathlib import Path
from typing import Any

import bcrypt
from pyramid.httpexceptions import HTTPServiceUnavailable, HTTPTooManyRequests

from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import InvalidArgument

log = logging.getLogger("lovely.remotetask.web")

#: Names of this machine, as browsers send them.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

#: What servers in front add: who asks is elsewhere.
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")

#: So long passwords can be; bcrypt would leave out the rest.
LONGEST = 72

#: So many wrong passwords are looked at in a row, and then one every so many seconds.
MOST_WRONG, PAUSE = 20, 3.0


def hashed(password: str) -> str:
    """A password as it stands in the file.  Raise InvalidArgument."""
    secret = password.encode()
    if not secret or len(secret) > LONGEST or b"\0" in secret:
        raise InvalidArgument(f"The password: from 1 to {LONGEST} bytes are needed.")
    return bcrypt.hashpw(secret, bcrypt.gensalt()).decode()


class _Tries:
    """How many passwords may be tried now, whoever asks: a number, and nothing else."""

    def __init__(self, environment: Environment) -> None:
        self._now = environment.monotonic
        self._lock = threading.Lock()
        self._left, self._since = float(MOST_WRONG), self._now()

    def take(self) -> float:
        """Take one: 0, or for how many seconds to wait before."""
        with self._lock:
            now = self._now()
            self._left = min(MOST_WRONG, self._left + (now - self._since) / PAUSE)
            self._since = now
            if self._left < 1:
                return (1 - self._left) * PAUSE
            self._left -= 1
            return 0.0

    def give_back(self) -> None:
        """The password was right."""
        with self._lock:
            self._left += 1


class BasicAuthentication:
    """Names and passwords from a file, as ``htpasswd -B`` makes it.

    Each line is ``name:hash``, with a hash of bcrypt.  The file is read anew when it
    has changed.  After many wrong passwords, those who were not let in before have to
    wait: so nobody can try all, nor keep the processor busy.
    """

    challenge = 'Basic realm="remotetask", charset="UTF-8"'

    def __init__(
        self, path: str | os.PathLike[str], environment: Environment | None = None
    ) -> None:
        """Raise InvalidArgument (a ValueError) if the file can't be used."""
        self._path = Path(path)
        self._hashes: dict[str, bytes] = {}
        self._read_at: tuple[int, int] | None = None
        # Of passwords that were right: bcrypt takes long, and pages ask often.
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}
        self._tries = _Tries(environment or Environment())
        self._read()

    def __call__(self, request: Any) -> str | None:
        try:
            self._read()
        except InvalidArgument as error:
            # Nobody else is to know of the file.
            log.error("nobody is let in: %s", error)
            raise HTTPServiceUnavailable(
                "Nobody can be let in just now; the dashboard's log says why."
            ) from error
        found = _credentials(request.headers.get("Authorization", ""))
        if found is None:
            return None
        name, password = found
        return name if self._is_right(name, password) else None

    def _is_right(self, name: str, password: bytes) -> bool:
        # Somebody unknown takes as long as a wrong password of the first in the file.
        expected = self._hashes.get(name) or next(iter(self._hashes.values()))
        seen = hmac.digest(self._key, expected + b"\0" + password, hashlib.sha256)
        if hmac.compare_digest(self._known.get(name, b""), seen):
            return True
        if (seconds := self._tries.take()) > 0:
            raise HTTPTooManyRequests(
                "There were too many wrong passwords. Try again later.",
                headers={"Retry-After": str(math.ceil(seconds))},
            )
        if len(password) > LONGEST or not bcrypt.checkpw(password, expected):
            return False
        if name not in self._hashes:
            return False
        self._tries.give_back()
        self._known[name] = seen
        return True

    def _read(self) -> None:
        """Read the file, unless that has been done since it changed."""
        try:
            status = self._path.stat()
            changed = status.st_mtime_ns, status.st_size
            if changed == self._read_at:
                return
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"The file of passwords {self._path} can't be read: {error}."
            ) from error
        hashes = dict(self._entry(number, line) for number, line in _entries(lines))
        if not hashes:
            raise InvalidArgument(
                f"The file of passwords {self._path} is empty: nobody could log in."
            )
        self._hashes, self._read_at = hashes, changed
        self._known.clear()

    def _entry(self, number: int, line: str) -> tuple[str, bytes]:
        name, _, hash = line.partition(":")
        if not name or not hash.startswith(("$2a$", "$2b$", "$2y$")) or len(hash) != 60:
            raise InvalidArgument(
                f"The file of passwords {self._path}, line {number}: name:hash is "
                "needed, with a hash of bcrypt. Make it with 'htpasswd -B' or with "
                "'python -m lovely.remotetask.web.password NAME'."
            )
        return name, hash.encode()


def _entries(lines: list[str]) -> list[tuple[int, str]]:
    stripped = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    return [(n, line) for n, line in stripped if line and not line.startswith("#")]


def _credentials(header: str) -> tuple[str, bytes] | None:
    """The name and the password that a header gives."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
        return (name.decode(), password) if colon and b"\0" not in password else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def remote_user(request: Any) -> str | None:
    """Whoever the application in front has let in: ``REMOTE_USER`` of the environ."""
    return request.environ.get("REMOTE_USER") or None


def is_loopback(address: str) -> bool:
    """Whether an IP address is one of this machine's own."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def local_user(request: Any) -> str | None:
    """Without a policy, only who sits at this machine: by address and by name.

    Another site may have its own name lead here; so it has to be one of ours.  A server
    in front is at this machine itself, and asks for somebody else.
    """
    if any(name in request.headers for name in FORWARDED):
        return None
    host = request.host.lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    local = is_loopback(request.remote_addr or "") and name in LOCAL_NAMES
    return "local" if local else None
