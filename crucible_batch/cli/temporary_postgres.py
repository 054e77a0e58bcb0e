"""A PostgreSQL server for the demo: in a temporary directory, reached by a socket in it, and never run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from crucible_batch.errors import ClusterSetupError

_USER: Final = "demo"
_PROGRAMS = ("initdb", "pg_ctl", "postgres")
_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the packages of postgresql.org for Fedora and RHEL
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
"""Where packages install the programs without adding them to PATH."""
_SETTINGS = "-c listen_addresses= -c fsync=off -c max_connections=50 -c unix_socket_directories=."


@contextmanager
def temporary_postgres() -> Iterator[str]:
    """Start a server, and give its address. It is stopped and deleted at the end.

    Raises ``ClusterSetupError`` if PostgreSQL is not installed or doesn't start.
    """
    programs = find_programs()
    with tempfile.TemporaryDirectory(prefix="crucible-batch-", ignore_cleanup_errors=True) as name:
        server = _Server(programs, Path(name))
        try:
            server.start()
            yield f"host={name} dbname=postgres user={_USER}"
        finally:
            server.stop()


def find_programs(path: str | None = None, places: tuple[str, ...] = _PLACES) -> Path:
    """Return the directory of PostgreSQL's programs: by ``path`` (default: PATH), else the newest one in ``places``.

    Raises ``ClusterSetupError`` if there is none.
    """
    found = shutil.which("pg_ctl", path=path)
    candidates = [] if found is None else [Path(found).resolve().parent]
    for place in places:
        root, pattern = Path(place.partition("*")[0]).parent, Path(place)
        candidates += sorted(root.glob(str(pattern.relative_to(root))), key=_version, reverse=True)
    for folder in candidates:
        if all((folder / program).is_file() for program in _PROGRAMS):
            return folder
    package = "brew install postgresql@17" if sys.platform == "darwin" else "apt-get install postgresql, for example"
    raise ClusterSetupError(
        "the demo of a cluster needs PostgreSQL, which is not installed", hint=f"install it: {package}"
    )


def _version(folder: Path) -> tuple[int, ...]:
    digits = "".join(letter if letter.isdigit() else " " for letter in str(folder))
    return tuple(int(part) for part in digits.split())


class _Server:
    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._data = directory / "data"

    def start(self) -> None:
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        self._run("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        log, settings = self._directory / "log", _SETTINGS.replace("=.", f"={self._directory}")
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", settings)

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-m", "immediate", "-D", self._data)

    def _run(self, program: str, *arguments: str | Path) -> None:
        """Run one of the programs. In a session of its own, so that a Ctrl-C of the terminal doesn't reach it."""
        done = subprocess.run(  # noqa: S603 - a program that was found, without a shell
            [self._programs / program, *arguments],
            user=self._user,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            lines = (done.stdout or self._logged()).strip().splitlines() or ["it gives no reason"]
            raise ClusterSetupError(
                f"PostgreSQL doesn't start: {lines[-1][:300]}", hint=f"check {self._programs / program}"
            )

    def _logged(self) -> str:
        log = self._directory / "log"
        return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""


def _unprivileged() -> str:
    """Return the user that PostgreSQL runs as: it refuses to run as root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
