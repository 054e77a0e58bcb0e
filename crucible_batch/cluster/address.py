"""The address of a cluster's database: read from text, shown without its password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final
from urllib.parse import unquote

from crucible_batch.errors import ClusterSetupError
from crucible_batch.secret_text import HiddenText, register_secret

DSN_VARIABLE: Final = "CRUCIBLE_BATCH_DSN"
SCHEMA: Final = "crucible_batch"
"""The schema of the database that has our tables, and Procrastinate's."""
_STATEMENT_MS = 5000
_CONNECT_S = 10


def require_extra() -> None:
    """Raise ``ClusterSetupError`` if the drivers are not installed."""
    if any(find_spec(name) is None for name in ("psycopg", "psycopg_pool", "procrastinate")):
        raise ClusterSetupError(
            "a cluster needs Procrastinate and psycopg, which are not installed",
            hint="install them: pip install 'crucible-batch[cluster]'",
        )


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where a cluster's database is. ``shown`` has no secrets; ``dsn`` has all that a connection needs."""

    shown: str
    dsn: str = field(repr=False)

    @classmethod
    def resolve(cls, given: str | None, environ: Mapping[str, str]) -> ClusterAddress:
        """Return the address of ``--cluster``, else that of the environment.

        Raises ``ClusterSetupError`` if there is none, it is not valid, or the drivers are not installed. No message
        contains any part of its text: it may be a password with a wrong character before it.
        """
        text = given or environ.get(DSN_VARIABLE)
        if not text:
            raise ClusterSetupError("no cluster database is given", hint=f"give --cluster DSN, or set {DSN_VARIABLE}")
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> ClusterAddress:
        """Read a PostgreSQL URL or a string of keywords and values. Raises ``ClusterSetupError``."""
        require_extra()
        from psycopg import Error  # noqa: PLC0415 - the extra may not be installed
        from psycopg.conninfo import conninfo_to_dict, make_conninfo  # noqa: PLC0415 - likewise

        secret = HiddenText(text.strip())
        register_secret(secret)
        try:
            values = conninfo_to_dict(secret)
        except Error:
            raise ClusterSetupError(
                "the address of the cluster's database is not valid",
                hint="it is like postgresql://user@host:5432/database, or host=... dbname=...; in a URL, percent-encode"
                " special characters of a password",
            ) from None
        for name in ("password", "sslpassword", "passfile"):
            _hide(values.get(name))
        shown = f"{values.get('host') or 'the default host'}:{values.get('port') or 5432}/{values.get('dbname') or ''}"
        limits = f"-c search_path={SCHEMA} -c statement_timeout={_STATEMENT_MS}"
        options = f"{values.get('options') or ''} {limits} -c idle_in_transaction_session_timeout={_STATEMENT_MS}"
        ours: dict[str, str | int] = {
            "options": options.strip(),
            "connect_timeout": values.get("connect_timeout") or _CONNECT_S,
            "application_name": values.get("application_name") or "crucible-batch",
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 10_000,  # milliseconds: a connection without answers is closed
        }
        return cls(shown, HiddenText(make_conninfo(secret, **ours)))


def _hide(value: object) -> None:
    if isinstance(value, str):
        register_secret(value)
        register_secret(unquote(value))
