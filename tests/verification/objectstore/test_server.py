"""The S3 server of these tests: it leaves nothing in the directory of temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.verification.objectstore.conftest import serving, sockets_of


def test_a_server_leaves_neither_sockets_nor_logs(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        sockets = sockets_of(server.ports)
    assert len(sockets) > 3
    assert not [path for path in sockets if path.exists()]
    logs = f"weed.*.{server.pid}"
    assert list(tmp_path.glob(logs))
    assert not list(Path(tempfile.gettempdir()).glob(logs))
