"""The socket on which a running run takes commands: ``.crucible/control.sock`` in its directory, for its user only."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from crucible_batch.atomic_files import TEMPORARY_PREFIX

SOCKET: Final = Path(".crucible", "control.sock")
_LONGEST_ADDRESS = 100
"""The bytes of a socket's address: macOS has 104, Linux 108."""
_PEER = struct.Struct("3i")


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """Yield an address of the directory's socket: a path that is short enough, by way of a link if needed."""
    path = directory.absolute() / SOCKET
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        link = Path(folder, "d")
        link.symlink_to(path.parent)
        yield str(link / path.name)


@contextmanager
def listening(directory: Path) -> Iterator[socket.socket]:
    """Listen on the directory's socket for the block. The caller must hold the directory's lock.

    A socket that a killed run left is replaced; anything else at its path is not. Raises ``OSError`` if there can't be
    a socket: on file systems without sockets (exFAT), or if its path is taken.
    """
    path = directory / SOCKET
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as bound:
        with _address(directory) as address:
            bound.bind(address)
        try:
            # Nobody can connect before it listens, so its mode is right from the first connection on.
            path.chmod(0o600)
            bound.listen()
            yield bound
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def connected(directory: Path, timeout_s: float) -> socket.socket:
    """Return a connection to the run that is active in the directory.

    Raises ``FileNotFoundError`` or ``ConnectionRefusedError`` if none takes commands, ``PermissionError`` if it is
    another user's, and ``OSError``.
    """
    status = (directory / SOCKET).lstat()
    if not stat.S_ISSOCK(status.st_mode):
        raise FileNotFoundError(str(directory / SOCKET))
    if status.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        raise PermissionError(str(directory / SOCKET))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _address(directory) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def user_of(connection: socket.socket) -> int | None:
    """Return the user id at the other end; None if it may not give commands: neither our own user nor root.

    Only Linux shows the id. Elsewhere the mode of the socket keeps others out.
    """
    if sys.platform != "linux":
        return os.geteuid()
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return user if user in {os.geteuid(), 0} else None


def user_name(user: int) -> str:
    """Return ``name@host`` of a user of this machine."""
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # in containers
        name = f"uid {user}"
    return f"{name}@{socket.gethostname()}"
