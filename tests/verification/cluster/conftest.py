"""PostgreSQL, and a database of a cluster for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.cluster.schema import migrate
from tests.verification.cluster.postgres import PostgresServer, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The server of all tests that do not stop it."""
    with running_server() as found:
        yield found


@pytest.fixture(scope="session")
def migrated(server: PostgresServer) -> str:
    """A database with the newest schema, to be copied."""
    name = server.create_database()
    asyncio.run(migrate(ClusterAddress.parse(server.dsn(name))))
    return name


@pytest.fixture
def address(server: PostgresServer, migrated: str) -> ClusterAddress:
    """The address of a new database with the newest schema."""
    return ClusterAddress.parse(server.dsn(server.create_database(migrated)))


@pytest.fixture
def empty_address(server: PostgresServer) -> ClusterAddress:
    """The address of a database without any schema."""
    return ClusterAddress.parse(server.dsn(server.create_database()))


@pytest_asyncio.fixture
async def cluster(address: ClusterAddress) -> AsyncIterator[ClusterDatabase]:
    database = await ClusterDatabase.opened(address)
    yield database
    await database.close()
