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
from lovely.remotetask.errors import NotInstalled

#: The option of each kind of storage for how long to wait for its server (seconds).
POSTGRES = ("postgres", "postgresql")
WAIT_OPTIONS = {"zeo": "wait_timeout", **dict.fromkeys(POSTGRES, "connect_timeout")}
READ_ONLY = "read_only=1"
#: The sections of ZConfig for ZEO, and how long the newer one waits if it is not told.
CLIENTS = frozenset({"ZEOClient", "ClientStorageConfig"})
USUAL_WAIT = 30
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
        db = open_(where, read_only, pool_size)
    except (Problem, Unusable):
        raise
    except Exception as error:
        raise Unusable(_reason(where, error)) from error
    if not read_only and db.storage.isReadOnly():
        db.close()
        raise Unusable(
            f"The database {where} is opened for reading only, and this has to write. "
            "Look for read_only in its URI, or for read-only in its file."
        )
    return db


def _open_uri(where: Where, read_only: bool, pool_size: int | None) -> DB:
    uri = _complete(where, read_only)
    scheme, _, rest = uri.partition("://")
    make: Callable[[], Any]
    arguments: dict[str, Any] = {}
    if scheme == "file" and rest.partition("?")[2] == (READ_ONLY if read_only else ""):
        # To ask zodburi would import ZEO, which takes as long as all the rest.
        path = rest.partition("?")[0]
        make = lambda: FileStorage(path, read_only=read_only)  # noqa: E731
    else:
        make, arguments = _resolve(uri)
    if pool_size is not None:
        arguments["pool_size"] = max(pool_size, arguments.get("pool_size", 0))
    return _database(make(), arguments)


def _resolve(uri: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    if uri.partition("://")[0] in POSTGRES:
        try:
            from lovely.remotetask.cli import postgres
        except ModuleNotFoundError as error:
            raise NotInstalled(f"--database {shown(uri)}", "postgresql") from error
        return postgres.resolve(uri)
    import zodburi

    try:
        make, arguments = zodburi.resolve_uri(uri)
    except zodburi.NoResolverForScheme:
        names = {e.name for e in entry_points(group="zodburi.resolvers")}
        raise Problem(
            f"--database: {shown(uri)!r} is of no kind that is installed; there are "
            f"{listed(sorted({*names, *POSTGRES}))}."
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
    path = rest.partition("?")[0]
    if scheme == "file":
        _check_file(Path(path))
    if scheme in WAIT_OPTIONS:
        _check_server(uri)
        uri = _with(uri, f"{WAIT_OPTIONS[scheme]}={max(1, round(where.wait))}")
    # Whoever looks is welcome where nobody may write, too.
    return _with(uri, READ_ONLY) if read_only and scheme in {"file", "zeo"} else uri


def _with(uri: str, option: str) -> str:
    """The URI with an option, unless it says something else of that."""
    query = uri.partition("?")[2]
    if option.partition("=")[0] in dict(parse_qsl(query)):
        return uri
    return f"{uri}{'&' if query else '?'}{option}"


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
            _adjust(storage, read_only, where.wait)
    db: DB = databaseFromConfig(config.database)
    return db


def _storages(section: Any) -> Iterator[Any]:
    """A section of a storage, and those within it."""
    yield section
    base = getattr(section.config, "base", None)
    inner = getattr(section.config, "factories", [base] if base is not None else [])
    for each in inner:
        yield from _storages(getattr(each, "factory", each))


def _adjust(section: Any, read_only: bool, wait: float) -> None:
    kind = type(section).__name__
    if kind == "FileStorage":
        _check_file(Path(section.config.path))
        section.config.create = False
    if getattr(section.config, "wait_timeout", None) == USUAL_WAIT:
        section.config.wait_timeout = max(1, round(wait))
    if read_only and kind in {"FileStorage", *CLIENTS}:
        section.config.read_only = True


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
