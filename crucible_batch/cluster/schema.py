"""The schema of a cluster's database: its levels, and the migrations that raise it.

A migration only adds: tables, columns with defaults, functions with new names. Code of an earlier level keeps running
while it is applied and afterwards. ``oldest_code`` is the lowest level of code that can still use the database; a
migration that removes something raises it, and code below it refuses to start.

Procrastinate's tables are in the same schema of the database. Its own migrations are recorded by name, and those that
its newer releases bring are applied as its documentation describes: ``pre`` before the new code, ``post`` later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from procrastinate.schema import SchemaManager

from crucible_batch.cluster.address import SCHEMA, ClusterAddress
from crucible_batch.cluster.connection import ClusterConnection, refused, unreachable
from crucible_batch.errors import ClusterSetupError

_DIRECTORY = Path(__file__).parent / "migrations"
_LOCK = 0x43524231
"""The key of the advisory lock that a migrating process holds ("CRB1")."""
_TRIES = 20
_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)


@dataclass(frozen=True, slots=True)
class Migration:
    """The step to a level of the schema, in a file of SQL."""

    level: int
    file: str
    oldest_code: int = 1

    @property
    def statements(self) -> str:
        return (_DIRECTORY / self.file).read_text(encoding="utf-8")


MIGRATIONS: Final = (
    Migration(1, "0001_runs_and_shards.sql"),
    Migration(2, "0002_drain.sql"),
    Migration(3, "0003_drain_run.sql"),
    Migration(4, "0004_controls.sql"),
    Migration(5, "0005_deadline.sql"),
)
CODE_LEVEL: Final = MIGRATIONS[-1].level
"""The level of the schema that this release uses."""

_RECORDS = """
CREATE SCHEMA IF NOT EXISTS crucible_batch;
CREATE TABLE IF NOT EXISTS migrations (
    level       integer PRIMARY KEY,
    file        text NOT NULL,
    oldest_code integer NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS procrastinate_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


async def require_level(connection: ClusterConnection, *, code_level: int = CODE_LEVEL) -> int:
    """Return the level of the schema. Raises ``ClusterSetupError`` if this release can't use it."""
    shown = connection.address.shown
    found = await connection.rows(f"SELECT to_regclass('{SCHEMA}.migrations') IS NOT NULL AS there")
    if not found[0]["there"]:
        raise ClusterSetupError(
            f"the database {shown} has no cluster yet",
            hint="check the address; the first run --cluster or worker --cluster creates it",
        )
    row = (await connection.rows("SELECT max(level) AS level, max(oldest_code) AS oldest FROM migrations"))[0]
    level, oldest = row["level"] or 0, row["oldest"] or 0
    if oldest > code_level:
        raise ClusterSetupError(
            f"the schema of {shown} is newer than this release: it has level {level} and needs a release with level"
            f" {oldest} or higher; this one has {code_level}",
            hint="upgrade crucible-batch on this machine",
        )
    if level < code_level:
        raise ClusterSetupError(
            f"the schema of {shown} has level {level}, and this release needs {code_level}",
            hint="start a worker of this release: it applies the migrations while others continue",
        )
    return int(level)


async def migrate(
    address: ClusterAddress,
    *,
    migrations: Sequence[Migration] = MIGRATIONS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[int, ...]:
    """Raise the schema to the level of this release, and return the new levels. Any process may do it at any time.

    Each migration and its record are one transaction. It waits for locks only briefly, and tries again later, so that
    it does not block the statements of others behind it. Raises ``ClusterUnreachableError`` and ``ClusterSetupError``.
    """
    for left in reversed(range(_TRIES)):
        try:
            return await _migrate(address, migrations)
        except _BUSY as error:
            if not left:
                raise unreachable(address, error) from None
            await sleep(0.5)
        except (psycopg.OperationalError, OSError) as error:
            raise unreachable(address, error) from None
        except psycopg.Error as error:
            raise refused(address, error) from None
    raise AssertionError


async def _migrate(address: ClusterAddress, migrations: Sequence[Migration]) -> tuple[int, ...]:
    applied: list[int] = []
    async with await psycopg.AsyncConnection.connect(address.dsn, autocommit=True) as connection:
        if await _needs(connection, migrations):
            async with _locked(connection):
                await connection.execute(_RECORDS)
                await _apply_procrastinate(connection)
            for each in migrations:
                async with _locked(connection):
                    row = await connection.execute("SELECT FROM migrations WHERE level = %s", (each.level,))
                    if await row.fetchone() is None:
                        await connection.execute(each.statements)
                        await connection.execute(
                            "INSERT INTO migrations (level, file, oldest_code) VALUES (%s, %s, %s)",
                            (each.level, each.file, each.oldest_code),
                        )
                        applied.append(each.level)
    return tuple(applied)


async def _needs(connection: psycopg.AsyncConnection, migrations: Sequence[Migration]) -> bool:
    """Return whether there is anything to apply: a start of a worker should not need the lock, nor rights to create."""
    row = await (await connection.execute("SELECT to_regclass('procrastinate_migrations')")).fetchone()
    if row is None or row[0] is None:
        return True
    row = await (await connection.execute("SELECT max(level) FROM migrations")).fetchone()
    if row is None or (row[0] or 0) < migrations[-1].level:
        return True
    return bool(await _missing_of_procrastinate(connection))


@asynccontextmanager
async def _locked(connection: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """A transaction that holds the lock of migrations, and waits at most 2 s for other locks."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        yield


async def _apply_procrastinate(connection: psycopg.AsyncConnection) -> None:
    names = [path.name for path in _procrastinate_files()]
    row = await (await connection.execute("SELECT to_regclass('procrastinate_jobs')")).fetchone()
    if row is None or row[0] is None:
        await connection.execute(SchemaManager.get_schema())
    else:
        names = await _missing_of_procrastinate(connection)
        texts = {path.name: path.read_text(encoding="utf-8") for path in _procrastinate_files() if path.name in names}
        for name in names:
            await connection.execute(texts[name])
    await connection.cursor().executemany(
        "INSERT INTO procrastinate_migrations (name) VALUES (%s) ON CONFLICT DO NOTHING", [(name,) for name in names]
    )


def _procrastinate_files() -> list[Path]:
    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))


async def _missing_of_procrastinate(connection: psycopg.AsyncConnection) -> list[str]:
    rows = await (await connection.execute("SELECT name FROM procrastinate_migrations")).fetchall()
    known = {str(row[0]) for row in rows}
    return due_migrations([path.name for path in _procrastinate_files()], known)


def due_migrations(names: Sequence[str], known: set[str]) -> list[str]:
    """Return the migrations of Procrastinate to apply now, in order.

    Those marked ``pre`` must precede its new code, and all before them. A ``post`` one after the last of them removes
    what older code still uses: it is applied with the next ``pre``.
    """
    missing = [name for name in sorted(names) if name not in known]
    last = max((number for number, name in enumerate(missing, 1) if "_pre_" in name), default=0)
    return missing[:last]
