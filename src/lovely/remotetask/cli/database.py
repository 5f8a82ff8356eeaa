"""Opening the database that a user names, by a URI or by a file of ZConfig."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from ZODB import DB
from ZODB.FileStorage import FileStorage

from lovely.remotetask.cli.problems import Problem, Unusable
from lovely.remotetask.cli.text import first_line, listed

#: The option of each kind of storage for how long to wait for its server (seconds).
WAIT_OPTIONS = {"zeo": "wait_timeout", "postgres": "connect_timeout"}
#: What must not be shown of a URI.
SECRET = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
PASSWORD = re.compile(r"^(\w+://[^:/?#@]*):.*@", re.DOTALL)


class Where(NamedTuple):
    """A database, as a user names it: one of the two."""

    uri: str | None = None
    zconfig: str | None = None
    #: For how long to wait for a server (seconds).
    wait: float = 10.0

    def __str__(self) -> str:
        """For people and logs: without passwords."""
        return self.zconfig or shown(self.uri or "")


def shown(uri: str) -> str:
    """A URI without the secrets in it, also if it is none."""
    uri = SECRET.sub(r"\1***", uri)
    before, mark, query = uri.partition("?")
    hidden = PASSWORD.sub(r"\1:***@", before)
    if hidden == before:
        # A password that is not written as it should be may have anything in it.
        return PASSWORD.sub(r"\1:***@", uri)
    return f"{hidden}{mark}{query}"


def open_database(where: Where, *, read_only: bool, pool_size: int | None = None) -> DB:
    """Open a database that is there; the caller closes it.  Raise Problem.

    ``read_only``: a FileStorage can be read while another process has it open.
    ``pool_size``: so many connections are usual.
    """
    open_ = _open_zconfig if where.zconfig else _open_uri
    try:
        return open_(where, read_only, pool_size)
    except (Problem, Unusable):
        raise
    except Exception as error:
        raise Unusable(_reason(where, error)) from error


def _open_uri(where: Where, read_only: bool, pool_size: int | None) -> DB:
    uri = _complete(where, read_only)
    scheme, _, rest = uri.partition("://")
    make: Callable[[], Any]
    arguments: dict[str, Any] = {}
    if scheme == "file" and rest.partition("?")[2] in {"", "read_only=1"}:
        # To ask zodburi would import ZEO, which takes as long as all the rest.
        path = rest.partition("?")[0]
        make = lambda: FileStorage(path, read_only=read_only)  # noqa: E731
    else:
        make, arguments = _resolve(uri)
    if pool_size is not None:
        arguments["pool_size"] = max(pool_size, arguments.get("pool_size", 0))
    return _database(make(), arguments)


def _resolve(uri: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    import zodburi

    try:
        make, arguments = zodburi.resolve_uri(uri)
    except zodburi.NoResolverForScheme:
        names = sorted(e.name for e in entry_points(group="zodburi.resolvers"))
        raise Problem(
            f"--database: {shown(uri)!r} is of no kind that is installed; there are "
            f"{listed(names)}. For PostgreSQL install lovely.remotetask[postgresql]."
        ) from None
    return make, arguments


def _database(storage: Any, arguments: dict[str, Any]) -> DB:
    try:
        return DB(storage, **arguments)
    except BaseException:
        storage.close()
        raise


def _complete(where: Where, read_only: bool) -> str:
    """The URI with the options that are meant, if it does not have them."""
    uri = str(where.uri)
    if "://" not in uri and not uri.startswith("demo:"):
        uri = f"file://{uri}"  # the path of a file
    scheme, _, rest = uri.partition("://")
    path, _, query = rest.partition("?")
    if scheme == "file":
        _check_file(Path(path))
        return _with(uri, query, "read_only", "1") if read_only else uri
    if scheme in WAIT_OPTIONS:
        _check_server(uri)
        return _with(uri, query, WAIT_OPTIONS[scheme], str(max(1, round(where.wait))))
    return uri


def _with(uri: str, query: str, name: str, value: str) -> str:
    if name in dict(parse_qsl(query)):
        return uri
    return f"{uri}{'&' if query else '?'}{name}={value}"


def _check_server(uri: str) -> None:
    """What Python says of a URI that is none may show the password."""
    try:
        urlsplit(uri).port  # noqa: B018 - looked at only when it is asked for
    except ValueError:
        raise Problem(
            f"--database: {shown(uri)!r} is no URI. What is special there, as in a "
            "password, is written %2F for /, %3F for ?, %23 for #, %40 for @."
        ) from None


def _check_file(path: Path) -> None:
    """ZODB would make a new database of a name that is misspelt."""
    if not path.is_file():
        what = "a directory" if path.is_dir() else "no file"
        raise Problem(
            f"There is no database at {str(path)!r}: it is {what}. Give the file that "
            "your application uses with --database."
        )


def _open_zconfig(where: Where, read_only: bool, pool_size: int | None) -> DB:
    import ZConfig
    from ZODB.config import databaseFromConfig, getDbSchema

    path = Path(str(where.zconfig))
    if not path.is_file():
        raise Problem(f"There is no file {str(path)!r}. Give another with --zconfig.")
    try:
        config, _ = ZConfig.loadConfig(getDbSchema(), str(path.absolute()))
    except ZConfig.ConfigurationError as error:
        raise Problem(
            f"--zconfig: {first_line(str(error))}. The file is to have sections <zodb> "
            "alone."
        ) from error
    for section in config.database:
        if pool_size is not None:
            section.config.pool_size = max(pool_size, section.config.pool_size)
        for storage in _storages(section.config.storage):
            _adjust(storage, read_only)
    db: DB = databaseFromConfig(config.database)
    return db


def _storages(section: Any) -> Iterator[Any]:
    """A section of a storage, and those within it."""
    yield section
    base = getattr(section.config, "base", None)
    inner = getattr(section.config, "factories", [base] if base is not None else [])
    for each in inner:
        yield from _storages(getattr(each, "factory", each))


def _adjust(section: Any, read_only: bool) -> None:
    if type(section).__name__ == "FileStorage":
        _check_file(Path(section.config.path))
        if read_only:
            section.config.read_only, section.config.create = True, False


def _reason(where: Where, error: Exception) -> str:
    """Why a database can't be opened, and what to do."""
    name, line = type(error).__name__, first_line(str(error)).rstrip(".")
    if name == "LockError":
        return (
            f"Another process is using the database {where}. A file can be changed by "
            "one process at a time: end that one, or share the database over ZEO. "
            "Looking at it (status, jobs, show, doctor) is possible."
        )
    if name in {"ClientDisconnected", "OperationalError", "ConnectionRefusedError"}:
        return (
            f"The server of {where} can't be reached: {line or name}. Does it run, and "
            "is the address right? --wait tells for how many seconds to try."
        )
    if isinstance(error, OSError):
        return f"The database {where} can't be opened: {error.strerror or line}."
    return (
        f"The database {where} can't be opened: {name}: {line}. Look at --database "
        "or --zconfig."
    )
