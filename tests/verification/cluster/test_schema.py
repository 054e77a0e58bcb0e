"""Migrations: applied once by whoever comes first, while code of the level before keeps running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster import schema as schema_module
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.cluster.schema import CODE_LEVEL, MIGRATIONS, Migration, due_migrations, migrate, require_level
from crucible_batch.cluster.statements import STATEMENTS
from crucible_batch.errors import ClusterSetupError, ClusterUnreachableError
from tests.lease_model import ShardLease
from tests.verification.cluster import levels
from tests.verification.cluster.histories import LEASE_S, History
from tests.verification.cluster.postgres import PostgresServer


async def test_processes_that_start_together_migrate_once(empty_address: ClusterAddress) -> None:
    done = await asyncio.gather(*(migrate(empty_address) for _ in range(8)))
    assert sorted(level for levels in done for level in levels) == [each.level for each in MIGRATIONS]
    assert await migrate(empty_address) == ()
    connection = ClusterConnection(empty_address)
    assert await require_level(connection) == CODE_LEVEL
    recorded = {row["name"] for row in await connection.rows("SELECT name FROM procrastinate_migrations")}
    assert recorded == {path.name for path in Path(SchemaManager.get_migrations_path()).glob("*.sql")}
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing(empty_address: ClusterAddress, tmp_path: Path) -> None:
    path = tmp_path / "0099_bad.sql"
    path.write_text("CREATE TABLE half (one integer); SELECT nothing_of_this_name()", encoding="utf-8")
    bad = (*MIGRATIONS, Migration(CODE_LEVEL + 1, str(path)))
    with pytest.raises(ClusterSetupError, match="nothing_of_this_name"):
        await migrate(empty_address, migrations=bad)
    connection = ClusterConnection(empty_address)
    assert await require_level(connection) == CODE_LEVEL
    assert await connection.rows("SELECT to_regclass('half') IS NULL AS gone") == [{"gone": True}]
    await connection.close()


def test_statements_of_each_earlier_level_are_kept() -> None:
    """A new migration comes with a copy of the statements before it: tests/verification/cluster/levels.py."""
    assert set(levels.STATEMENTS_OF_LEVEL) == {each.level for each in MIGRATIONS}
    assert levels.STATEMENTS_OF_LEVEL[CODE_LEVEL] == STATEMENTS


@pytest.mark.parametrize("level", [each.level for each in MIGRATIONS])
async def test_code_of_an_earlier_level_keeps_running_on_the_newest_schema(address: ClusterAddress, level: int) -> None:
    connection = ClusterConnection(address)
    cluster = ClusterDatabase(connection, statements=levels.STATEMENTS_OF_LEVEL[level], lease_s=LEASE_S)
    await require_level(connection, code_level=level)
    await History(cluster, connection, 1, ShardLease).play(80)
    for values in levels.WORKER_CALLS:
        for name, arguments in values.items():
            if name in levels.STATEMENTS_OF_LEVEL[level]:
                await connection.rows(levels.STATEMENTS_OF_LEVEL[level][name], arguments)
    await connection.close()


@pytest.mark.parametrize("level", [each.level for each in MIGRATIONS[:-1]])
async def test_code_of_an_earlier_level_keeps_running_while_a_migration_is_applied(
    empty_address: ClusterAddress, level: int
) -> None:
    """The connections are older than the new schema, and so are their prepared statements."""
    await migrate(empty_address, migrations=MIGRATIONS[:level])
    statements = levels.STATEMENTS_OF_LEVEL[level]
    connection = ClusterConnection(empty_address)
    cluster = ClusterDatabase(connection, statements=statements, lease_s=LEASE_S)
    history = History(cluster, connection, 7, ShardLease)
    for _ in range(8):  # psycopg prepares a statement that is executed often
        for values in levels.WORKER_CALLS:
            for name in values.keys() & statements.keys():
                await connection.rows(statements[name], values[name])
    await history.play(60)
    migrating = asyncio.ensure_future(migrate(empty_address))
    await history.play(60)
    assert await migrating == tuple(range(level + 1, CODE_LEVEL + 1))
    await history.play(60)
    for values in levels.WORKER_CALLS:
        for name in values.keys() & statements.keys():
            await connection.rows(statements[name], values[name])
    await connection.close()


async def test_a_migration_waits_for_a_long_transaction_without_blocking_others(empty_address: ClusterAddress) -> None:
    await migrate(empty_address, migrations=MIGRATIONS[:1])
    paused: list[float] = []
    blocker = await psycopg.AsyncConnection.connect(empty_address.dsn)
    await blocker.execute("SELECT * FROM workers")  # holds a lock until its transaction ends

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        await blocker.rollback()

    assert await migrate(empty_address, sleep=pause) == tuple(each.level for each in MIGRATIONS[1:])
    assert paused
    await blocker.close()


async def test_a_database_without_a_cluster_is_named(empty_address: ClusterAddress) -> None:
    with pytest.raises(ClusterSetupError, match="has no cluster yet"):
        await ClusterDatabase.opened(empty_address)
    database = await ClusterDatabase.opened(empty_address, create=True)
    assert database.level == CODE_LEVEL
    await database.close()


async def test_a_schema_that_this_release_cannot_use_is_refused(address: ClusterAddress) -> None:
    connection = ClusterConnection(address)
    with pytest.raises(ClusterSetupError, match=f"has level {CODE_LEVEL}, and this release needs"):
        await require_level(connection, code_level=CODE_LEVEL + 1)
    await connection.rows("INSERT INTO migrations (level, file, oldest_code) VALUES (90, 'later', 1)")
    assert await require_level(connection) == 90  # later, and nothing was removed
    await connection.rows(f"INSERT INTO migrations (level, file, oldest_code) VALUES (91, 'later', {CODE_LEVEL + 1})")
    with pytest.raises(ClusterSetupError, match=f"is newer than this release: .* {CODE_LEVEL + 1} or higher") as caught:
        await ClusterDatabase.opened(address, create=True)
    assert caught.value.hint == "upgrade crucible-batch on this machine"
    await connection.close()


async def test_a_user_without_rights_is_told_which_are_missing(server: PostgresServer) -> None:
    name = server.create_database()
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(ClusterSetupError, match="permission denied for database") as caught:
        await migrate(ClusterAddress.parse(server.dsn(name, user="guest")))
    assert "CREATE on the database" in str(caught.value.hint)


async def test_a_wrong_password_is_not_shown(server: PostgresServer) -> None:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
    address = ClusterAddress.parse(f"{server.dsn('postgres', user='locked')} password=wrong-secret")
    for attempt in (migrate(address), ClusterDatabase.opened(address)):
        with pytest.raises(ClusterUnreachableError, match="password authentication failed") as caught:
            await attempt
        assert "wrong-secret" not in f"{caught.value} {caught.value.hint} {caught.value!r} {address!r}"


@pytest.mark.parametrize(
    ("known", "due"),
    [
        (["1_01_pre_a", "1_50_post_a", "2_01_pre_b", "2_50_post_b"], []),
        (["1_01_pre_a", "1_50_post_a"], ["2_01_pre_b"]),  # the old code may still run: its post comes later
        (["1_01_pre_a"], ["1_50_post_a", "2_01_pre_b"]),
        ([], ["1_01_pre_a", "1_50_post_a", "2_01_pre_b"]),
        (["1_01_pre_a", "1_50_post_a", "2_01_pre_b"], []),
    ],
)
def test_the_migrations_of_procrastinate_precede_its_new_code(known: list[str], due: list[str]) -> None:
    assert due_migrations(["2_50_post_b", "1_01_pre_a", "2_01_pre_b", "1_50_post_a"], set(known)) == due


async def test_a_new_migration_of_procrastinate_is_applied(
    address: ClusterAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "99.00.00_01_pre_more.sql").write_text("ALTER TABLE procrastinate_jobs ADD COLUMN more text;")
    theirs = schema_module._procrastinate_files()
    monkeypatch.setattr(schema_module, "_procrastinate_files", lambda: [*theirs, *tmp_path.glob("*.sql")])
    await asyncio.gather(*(migrate(address) for _ in range(3)))
    connection = ClusterConnection(address)
    assert await connection.rows("SELECT more FROM procrastinate_jobs") == []
    await connection.close()


async def test_the_tables_have_no_other_columns(address: ClusterAddress) -> None:
    """Neither a prompt, a parameter, nor a key has a column: a new one is a decision."""
    connection = ClusterConnection(address)
    rows = await connection.rows(
        "SELECT table_name || '.' || column_name AS name FROM information_schema.columns"
        " WHERE table_schema = 'crucible_batch' AND table_name IN"
        " ('runs', 'shards', 'workers', 'turns', 'controls', 'control_takers')"
    )
    await connection.close()
    found: dict[str, set[str]] = {}
    for row in rows:
        table, _, column = row["name"].partition(".")
        found.setdefault(table, set()).add(column)
    leases = {"epoch", "claim", "renewed_at", "ended_at"}
    assert found == {
        "runs": {"run", "manifest", "run_id", "gateway", "location", "budget", "used", "created_at"} | leases,
        "shards": {"run", "plan_digest", "number", "jobs", "admitted", "allowance", "state", "worker", "waiting_since",
                   "claimed_at", "ending", "spent", "held", "succeeded", "failed", "blocked", "pending", "unknown"}
        | leases,
        "workers": {"worker", "name", "release", "started_at", "seen_at", "draining_since"},
        "turns": {"name", "at"},
        "controls": {"run", "number", "request", "run_epoch", "action", "value", "jobs", "given_by", "given_via",
                     "given_at"},
        "control_takers": {"run", "plan_digest", "number", "epoch", "taken", "in_flight", "seen_at"},
    }  # fmt: skip
