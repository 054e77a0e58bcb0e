"""A journal that is damaged, or was edited by hand: every command ends with a documented exit code
and says why.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crucible_batch.cli.app import app
from tests.harness.commands import KEY, Cli
from tests.harness.features import has_feature
from tests.harness.slow_cases import quick_every

JOURNAL = ".crucible/journal.sqlite3"
PAGE = 4096
CHECKS = (["check", "--outputs"], ["check", "--ledger"]) if has_feature("check") else ()
READING = (["status"], ["report", "--json"], *CHECKS)
MANIFEST = ("- {name: fox, prompt: a fox}", "- {name: owl, prompt: an owl}")
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7}
ODD = {
    "NULL": None,
    "a number": 7,
    "infinity": float("inf"),
    "a blob": b"\xff\x00",
}
COLUMNS = [
    *(("meta", column) for column in ("key", "value")),
    *(("events", column) for column in ("subject", "type", "body")),
    *(("plan", column) for column in ("identity", "body")),
    *(("runs", column) for column in ("started_at", "finished_at", "terms", "ending")),
]

Damage = Callable[[Path], None]


def cut(at: int) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[:at])


def overwritten(at: int, block: bytes) -> Damage:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at : at + len(block)] = block
        path.write_bytes(content)

    return damage


def told(*statements: str) -> Damage:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return damage


def beside(end: str, block: bytes) -> Damage:
    def damage(path: Path) -> None:
        path.with_name(path.name + end).write_bytes(block)

    return damage


def odd(table: str, column: str, value: object) -> Damage:
    """Write a value of any type, as SQLite lets whoever drops the rules that the table was made
    with."""

    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
            connection.execute(f"ALTER TABLE {table} RENAME TO ruled")
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            connection.execute(f"INSERT INTO {table} SELECT * FROM ruled")
            connection.execute("DROP TABLE ruled")
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})",
                (value,),
            )

    return damage


def event(kind: str, field: str, value: str) -> Damage:
    return told(
        f"UPDATE events SET body = json_set(body, '$.{field}', json('{value}')) "
        f"WHERE type = '{kind}'"
    )


FIELDS = [
    *(("Held", "at", value) for value in ("1e300", "-1", '"x"')),
    *(("Held", "credits", value) for value in ('"1E+999999"', '"-5"', '"NaN"', "[]")),
    *(("Succeeded", "outputs", value) for value in ("0", "-1", "1e300")),
    ("Saved", "sha256", '"a\\u0000b"'),
    ("Saved", "byte_size", "1" + "0" * 400),
    ("Saved", "path", '"a\\u0000b"'),
    ("Accepted", "job_id", '""'),
]
DAMAGES: dict[str, Damage] = {
    **{f"cut at {at}": cut(at) for at in (0, 1, 16, 100, 1000, PAGE, PAGE + 1, 3 * PAGE, 6 * PAGE)},
    "no magic": overwritten(0, b"SQLite format 4"),
    **{f"page size {size.hex()}": overwritten(16, size)
       for size in (b"\0\0", b"\x02\0", b"\0\x01", b"\xff\xff")},
    **{f"versions {byte}": overwritten(18, bytes([byte]) * 2) for byte in (0, 1, 3, 255)},
    **{f"header at {at}": overwritten(at, b"\xff" * 4)
       for at in (20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 92)},
    **{f"page {page}": overwritten(page * PAGE, b"\xa5" * PAGE) for page in range(1, 9)},
    "schema": overwritten(100, b"\xff" * 200),
    "an odd log": beside("-wal", b"\xff" * 5000),
    "an empty log": beside("-wal", b""),
    "an odd index of the log": beside("-shm", b"\xff" * 40_000),
    "an odd rollback journal": beside(
        "-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\xff" * 5000,
    ),
    **{f"no table {table}": told(f"DROP TABLE {table}")
       for table in ("meta", "events", "plan", "retired", "runs")},
    **{f"no {table}.{column}": told(f"ALTER TABLE {table} RENAME {column} TO x")
       for table, column in COLUMNS},
    "deep JSON": odd("runs", "terms", "[" * 100_000),
    "no index": told("DROP INDEX events_by_subject"),
    "a view": told("ALTER TABLE events RENAME TO x", "CREATE VIEW events AS SELECT * FROM x"),
    **{f"no rows in {table}": told(f"DELETE FROM {table}")
       for table in ("meta", "events", "plan", "runs")},
    **{f"{table}.{column} is {name}": odd(table, column, ODD[name])
       for table, column in COLUMNS for name in ODD},
    **{f"{table}.{column} is no UTF-8": told(
        "DROP INDEX events_by_gateway_job",  # else SQLite would not write it
        f"UPDATE {table} SET {column} = CAST(x'ff80' AS TEXT)")
       for table, column in (
           ("events", "subject"), ("events", "body"), ("plan", "body"), ("runs", "terms"))},
    **{f"{kind}.{field} is {value[:20]}": event(kind, field, value)
       for kind, field, value in FIELDS},
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Path:
    """A directory in which a manifest was run."""
    cli = Cli(tmp_path_factory.mktemp("good"), gateway)
    cli.write("trial", "\n".join(MANIFEST))
    assert cli("run", "trial.yaml", "-q", "--out-dir", "out").code == 0
    return cli.cwd


@pytest.fixture
def place(
    good: Path, tmp_path: Path, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    shutil.copytree(good, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("MOLTAZINE_API_KEY", KEY)
    monkeypatch.setenv("CRUCIBLE_API_BASE", gateway)
    return tmp_path / "copy"


@pytest.mark.parametrize("damage", quick_every(5, DAMAGES.values()), ids=DAMAGES)
def test_whatever_is_wrong_with_a_journal_no_command_ends_as_if_by_a_bug(
    place: Path, damage: Damage
) -> None:
    damage(place / "out" / JOURNAL)
    (place / "out").rename(place / "damaged")
    for command in (*READING, ["run", "trial.yaml", "--out-dir"]):
        shutil.copytree(place / "damaged", place / "out")  # each finds it as it was damaged
        done = CliRunner().invoke(app, [*command, "out"])
        assert done.exit_code in DOCUMENTED, (command, done.output)
        if done.exit_code in {2, 5}:
            assert done.output.strip(), command
        shutil.rmtree(place / "out")
