"""Who was first to claim a name, a path or an identity: remembered on disk, so that a million fit in little memory.

A set of Python objects takes some 100 bytes a job; a table of SQLite takes 3 µs and, beyond its cache, no memory.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import weakref
from dataclasses import dataclass

_KEY = struct.Struct(">qq")
_CACHE_KIB = 2048


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a job: its name, and the index of its entry in ``jobs``."""

    name: str
    entry: int


class Claims:
    """Keeps claims of texts, one each. What is claimed is known by 126 bits of its digest."""

    __slots__ = ("__weakref__", "_cursor")

    def __init__(self) -> None:
        # A nameless file, which SQLite makes once its cache is full, and of which no kill leaves anything behind.
        # One thread works with it; the garbage collector may close it in any other.
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, connection.close)
        self._cursor = connection.cursor()
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._cursor.execute(f"PRAGMA {setting}")
        self._cursor.execute(
            "CREATE TABLE claims (key INTEGER PRIMARY KEY, rest INTEGER NOT NULL, entry INTEGER NOT NULL,"
            " name TEXT NOT NULL)"
        )
        self._cursor.execute("BEGIN")

    def take(self, text: str, name: str, entry: int) -> Claim | None:
        """Claim ``text`` for a job; return the claim that stands already, if one does."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        key, rest = _KEY.unpack(digest)
        row = (key, rest, entry, name)
        if self._cursor.execute("INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?)", row).rowcount:
            return None
        return self._found(key, rest)

    def get(self, text: str) -> Claim | None:
        """Return the claim of ``text``, if there is one."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return self._found(*_KEY.unpack(digest))

    def _found(self, key: int, rest: int) -> Claim | None:
        query = "SELECT name, entry FROM claims WHERE key = ? AND rest = ?"
        found = self._cursor.execute(query, (key, rest)).fetchone()
        return None if found is None else Claim(*found)
