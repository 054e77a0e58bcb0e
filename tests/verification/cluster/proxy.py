"""A network between a worker and PostgreSQL that tests can stall or cut: a relay of its Unix socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

_NAME = ".s.PGSQL.5432"


class Relay:
    """Relays connections to a server's socket from ``directory``. Threads, so that no event loop of a test matters."""

    def __init__(self, server: Path, directory: Path) -> None:
        self._server = server / _NAME
        self.directory = directory
        self._flows = threading.Event()
        self._flows.set()
        self._is_cut = False
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / _NAME))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Transfer nothing, and close nothing: as if packets were lost."""
        self._flows.clear()

    def cut(self) -> None:
        """Close all connections, and refuse new ones."""
        self._is_cut = True
        self._close()

    def restore(self) -> None:
        self._is_cut = False
        self._flows.set()

    def close(self) -> None:
        self._flows.set()
        self._listener.close()
        self._close()

    def _close(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                if self._is_cut:
                    ours.close()
                    continue
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(str(self._server))
                self._open += [ours, theirs]
                for source, target in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
