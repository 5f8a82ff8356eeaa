"""The dashboard on its own, with waitress."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import waitress
from waitress import wasyncore
from waitress.trigger import trigger

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.web.app import make_app
from lovely.remotetask.web.authentication import is_loopback
from lovely.remotetask.web.security import LONGEST_BODY

#: What waitress is told, unless somebody knows better: so many requests are answered at
#: a time; no body is kept that would be refused; and the dashboard is to see whether a
#: server in front has passed a request on.
OPTIONS = {
    "threads": 4,
    "ident": None,
    "max_request_body_size": 2 * LONGEST_BODY,
    "clear_untrusted_proxy_headers": False,
}


class Server:
    """A server that is bound: waitress's, with an end that leaves nothing open."""

    def __init__(
        self, app: Any, host: str, port: int, options: Mapping[str, Any]
    ) -> None:
        self._sockets: dict[int, Any] = {}
        given = {**OPTIONS, **options}
        try:
            self._server = waitress.create_server(
                app, host=host, port=port, map=self._sockets, **given
            )
        except OSError as error:  # which does not say where
            where = f"{_in_url(host)}:{port}"
            raise OSError(error.errno, error.strerror, where) from error

    @property
    def address(self) -> str:
        """Its URL."""
        listening = getattr(self._server, "effective_listen", None)
        if listening:
            host, port = listening[0]
        else:
            host, port = self._server.effective_host, self._server.effective_port
        return f"http://{_in_url(host)}:{port}/"

    def run(self) -> None:
        """Answer requests, until `stop`, KeyboardInterrupt or SystemExit."""
        try:
            self._server.run()
        finally:
            self.close()

    def stop(self) -> None:
        """Let `run` end, in another thread."""
        bells = [s for s in list(self._sockets.values()) if isinstance(s, trigger)]
        for bell in bells[:1]:
            bell.pull_trigger(self.close)

    def close(self) -> None:
        """Let go of what is bound, and of who is connected."""
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._sockets, ignore_all=True)


def _in_url(host: str) -> str:
    """A name, or an address, as it is written before a port."""
    return f"[{host}]" if ":" in host else host


def create_server(
    db: Any,
    service_path: str | Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    options: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Server:
    """A server that is bound and does not run yet.

    ``host``, ``port``
        what to bind; 0 is any free port.
    ``options``
        other ones of waitress.
    ``arguments``
        those of `make_app`.

    Raise InvalidArgument (a ValueError) if others could reach it and there is no
    ``authentication``; and as `make_app`.  Raise OSError if it can't be bound.
    """
    if arguments.get("authentication") is None and not is_local(host):
        raise InvalidArgument(
            f"host: others can reach {host!r}, and nobody would be asked who they "
            "are. Give an authentication, or bind 127.0.0.1."
        )
    app = make_app(db, service_path, **arguments)
    return Server(app, host, port, options or {})


def serve(
    db: Any,
    service_path: str | Sequence[str],
    *,
    ready: Callable[[str], object] | None = None,
    **arguments: Any,
) -> None:
    """Serve the dashboard until KeyboardInterrupt or SystemExit.

    ``ready`` is called with its address, a URL, once it can be reached.  The rest is
    as for `create_server`.
    """
    server = create_server(db, service_path, **arguments)
    if ready is not None:
        ready(server.address)
    server.run()


def is_local(host: str) -> bool:
    """Whether only this machine can reach what is bound to a host."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(f"host: {host!r} is not known: {error}.") from error
    return all(is_loopback(str(address[0])) for *_, address in found)
