"""``postgres://``: a database in PostgreSQL, through RelStorage.

RelStorage's own reader of such URIs does without neither port nor password, and takes
both as they are written: what is special in a password could not be written at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode

import zodburi
from relstorage.zodburi_resolver import RelStorageURIResolver, Resolver


class Helper(Resolver):
    """Says how to connect, as PostgreSQL's own library wants to hear it."""

    _int_args = ("connect_timeout",)
    _string_args = (
        *("host", "port", "user", "password", "dbname", "passfile"),
        *("sslmode", "sslrootcert", "sslcert", "sslkey"),
        *("application_name", "target_session_attrs"),
    )

    def __call__(
        self, parts: SplitResult, options: dict[str, str]
    ) -> tuple[Callable[[Any], Any], dict[str, str]]:
        given, others = self.interpret_kwargs(options)
        dsn = data_source_name(parts, given)

        def factory(options: Any) -> Any:
            from relstorage.adapters.postgresql import PostgreSQLAdapter

            return PostgreSQLAdapter(dsn=dsn, options=options)

        return factory, others


def data_source_name(parts: SplitResult, options: dict[str, Any]) -> str:
    """What a URI says, in the form ``host='...' port='...'``."""
    found = {
        "dbname": parts.path[1:],
        "user": parts.username,
        "password": parts.password,
        "host": parts.hostname,
        "port": parts.port,
    }
    texts = {key: unquote(str(value)) for key, value in found.items() if value}
    return " ".join(
        f"{key}='{str(value).translate(ESCAPES)}'"
        for key, value in {**texts, **options}.items()
    )


#: Within quotes these have to be escaped.
ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'"})


def resolve(uri: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What makes the storage of a URI, and what is for the database; as zodburi."""
    rest = uri.partition("://")[2]
    make, others = RelStorageURIResolver(Helper())(f"postgres://{rest}")
    # What it makes of them is the same for all kinds of storages.
    _, arguments = zodburi.resolve_uri(f"memory://?{urlencode(others)}")
    return make, arguments
