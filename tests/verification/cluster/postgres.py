"""A PostgreSQL server for tests: started by them, on a socket in a directory of its own, never as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crucible_batch.cli.temporary_postgres import find_programs
from crucible_batch.errors import ClusterSetupError

_HBA = "local all locked,compose scram-sha-256\nlocal all all trust\n"
"""These users need a password; each belongs to one test."""


def _binaries() -> Path:
    """Return the directory of PostgreSQL's programs. These tests are about it: without it they fail."""
    try:
        return find_programs()
    except ClusterSetupError as error:
        pytest.fail(f"this is tested with PostgreSQL, which is not installed here; {error.hint}")


class PostgresServer:
    """A server that is stopped, killed and started again by tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._binaries = _binaries()
        names = {entry.pw_name for entry in pwd.getpwall()}
        self._user = ("postgres" if "postgres" in names else "nobody") if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command, user=self._user, cwd=self.directory, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def create(self) -> None:
        if self._user is not None:
            shutil.chown(self.directory, self._user)
        options = ("--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C")
        self._run(self._binaries / "initdb", "-D", self.directory / "data", *options)
        (self.directory / "data" / "pg_hba.conf").write_text(_HBA, encoding="utf-8")

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = (
            "fsync=off",
            "autovacuum=off",  # it would be connected to a template while that is copied
            "listen_addresses=",
            f"unix_socket_directories={self.directory}",
            "max_connections=200",
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.directory / "data", *(p for s in settings for p in ("-c", s))],
                user=self._user, cwd=self.directory, stdout=log, stderr=log,
            )  # fmt: skip
        while True:
            assert self._process.poll() is None, (self.directory / "log").read_text(encoding="utf-8")
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.dsn("postgres")):
                return
            time.sleep(0.02)

    def stop(self, *, immediately: bool = False) -> None:
        """Stop the server: as an operator does, or without a checkpoint, so that it recovers when it starts."""
        if self._process is not None:
            self._process.send_signal(3 if immediately else 2)  # SIGQUIT: immediate, SIGINT: fast
            self._process.wait()
            self._process = None

    def dsn(self, database: str, directory: Path | None = None, user: str = "tester") -> str:
        return f"host={directory or self.directory} dbname={database} user={user}"

    def create_database(self, template: str | None = None) -> str:
        """Create a database, empty or as a copy, and return its name."""
        self._next += 1
        name = f"test_{self._next}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}".encode())
        return name


@contextlib.contextmanager
def running_server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(Path(name))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop(immediately=True)
