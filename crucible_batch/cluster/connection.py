"""One connection to the cluster's database: calls in autocommit, repeated on a new connection if one is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg.rows import DictRow, dict_row

from crucible_batch.cluster.address import SCHEMA, ClusterAddress
from crucible_batch.errors import ClusterSetupError, ClusterUnreachableError

logger = logging.getLogger(__name__)

CALL_S: Final = 12.0
"""The longest that one try may take, in seconds: longer than the server's own limit of a statement."""
PATIENCE_S: Final = 120.0
"""How long a worker or a coordinator tries to reach a database that has gone away, in seconds."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 3.0


class ClusterConnection:
    """A connection that is opened when it is first needed, and again after it was lost.

    Every statement is repeated after a lost connection, since it isn't known whether it took effect: callers send only
    statements that may be repeated. Concurrent calls wait for each other.
    """

    def __init__(self, address: ClusterAddress, *, patience_s: float = 0.0) -> None:
        self.address = address
        self._patience_s = patience_s
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[DictRow] | None = None

    async def rows(self, statement: str, values: Mapping[str, object] | None = None) -> list[DictRow]:
        """Execute one statement in autocommit and return its rows.

        Raises ``ClusterUnreachableError`` if the database is not reached within the patience, and
        ``ClusterSetupError`` if it refuses the statement.
        """
        async with self._lock:
            waited, wait = 0.0, _FIRST_WAIT_S
            while True:
                try:
                    return await self._try(statement, values)
                except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as error:
                    await self._drop()
                    if waited >= self._patience_s:
                        raise unreachable(self.address, error) from None
                    logger.info("the cluster's database %s does not answer; trying again", self.address.shown)
                except asyncio.CancelledError:
                    await self._drop()
                    raise
                except psycopg.Error as error:
                    raise refused(self.address, error) from None
                pause = min(wait, self._patience_s - waited) * random.uniform(0.5, 1)  # noqa: S311 - not a secret
                await asyncio.sleep(pause)
                waited, wait = waited + max(pause, 0.05), min(2 * wait, _LONGEST_WAIT_S)

    async def _try(self, statement: str, values: Mapping[str, object] | None) -> list[DictRow]:
        async with asyncio.timeout(CALL_S):
            if self._connection is None or self._connection.closed:
                self._connection = await psycopg.AsyncConnection.connect(
                    self.address.dsn, autocommit=True, row_factory=dict_row
                )
            cursor = await self._connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description is not None else []

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    async def close(self) -> None:
        """Close the connection. A later call opens a new one."""
        async with self._lock:
            await self._drop()


def unreachable(address: ClusterAddress, error: Exception) -> ClusterUnreachableError:
    """Return the error for a database that could not be reached, with the reason that the driver gives."""
    reason = "it does not answer" if isinstance(error, TimeoutError) else _first_line(error)
    return ClusterUnreachableError(
        f"the cluster's database {address.shown} can't be reached: {reason}",
        hint="check that PostgreSQL is running and accepts this user; then run the same command again",
    )


def refused(address: ClusterAddress, error: psycopg.Error) -> ClusterSetupError:
    """Return the error for a statement that the database refuses: missing rights, or a schema that isn't ours."""
    return ClusterSetupError(
        f"the cluster's database {address.shown} refuses a statement: {_first_line(error)}",
        hint=f"the user needs all rights in the schema {SCHEMA}, and CREATE on the database until that exists",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
