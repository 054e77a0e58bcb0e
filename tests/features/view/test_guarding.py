"""Who may ask, for what, and how: names made to lead here, paths that lead away, methods that would
change.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.view.conftest import Viewer, viewing
from tests.harness.case_table import each_case
from tests.harness.commands import Cli
from tests.harness.slow_cases import quick_where

RUN = Path("outputs/done/default")
PICTURE = "harbour-noir-1/0.png"


def ask(viewer: Viewer, head: str, host: str | None = None) -> tuple[int, str, bytes]:
    """Send a request line as it stands, which no client's library tidies; return the status, the
    headers, the body."""
    port = int(viewer.client.base_url.port or 0)
    named = "" if host == "" else f"Host: {host or f'127.0.0.1:{port}'}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{head} HTTP/1.1\r\n{named}Connection: close\r\n\r\n".encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    headers, _, body = answer.partition(b"\r\n\r\n")
    return int(headers.split(b" ", 2)[1]), headers.decode("latin-1").lower(), body


@pytest.fixture(scope="session")
def key(viewer: Viewer) -> str:
    return viewer.key("done/default")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{}", "127.0.0.1.evil.example:{}", "localhost.evil.example",
     "[::1]:{}", "10.0.0.1", "127.0.0.1:{}@evil.example", "", "0.0.0.0:{}", "2130706433:{}"],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_is_refused(viewer: Viewer, key: str, host: str) -> None:
    for address in ("/", f"/data/{key}", f"/runs/{key}/{PICTURE}", "/events"):
        status, headers, body = ask(
            viewer, f"GET {address}", host.format(viewer.client.base_url.port)
        )
        assert status == 400
        assert "access-control" not in headers
        assert b"harbour" not in body


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:9999"])
def test_the_names_of_this_machine_are_served_also_through_a_tunnel(
    viewer: Viewer, host: str
) -> None:
    assert ask(viewer, "GET /", host.format(viewer.client.base_url.port))[0] == 200


def test_nobody_but_this_machine_can_reach_it(viewer: Viewer) -> None:
    port = int(viewer.client.base_url.port or 0)
    for address in ("127.0.0.2", *_own_addresses()):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address, port), timeout=5).close()


def _own_addresses() -> list[str]:
    found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found if address[4][0] != "127.0.0.1"]


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X"]
)
def test_whatever_could_change_something_is_refused(viewer: Viewer, key: str, method: str) -> None:
    for address in ("/", f"/runs/{key}/", f"/runs/{key}/{PICTURE}", "/nowhere"):
        status, headers, _ = ask(viewer, f"{method} {address}")
        assert status == 405
        assert "access-control" not in headers


@each_case(
    "path",
    [
        "../../../../../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/done.yaml",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "..\\..\\etc\\passwd",
        "harbour-noir-1/../../../../etc/passwd",
        "harbour-noir-1/../report.json",
        ".crucible/journal.sqlite3",
        "harbour-noir-1/../.crucible/journal.sqlite3",
        ".crucible/lock",
        "report.json",
        "receipts.jsonl",
        "report.html",
        "harbour-noir-1/0.png%00",
        "harbour-noir-1",
        "./harbour-noir-1/0.png",
        "HARBOUR-noir-1/0.png",
    ],
)
def test_only_what_the_journal_says_was_saved_is_served(
    viewer: Viewer, key: str, path: str
) -> None:
    for prefix in (f"/runs/{key}/", f"/runs/{key}//", "/", f"/thumbnails/{key}/", f"/data/{key}/"):
        status, _, body = ask(viewer, f"GET {prefix}{path}")
        assert status == 404
        assert len(body) < 60


@each_case("key", ["..", "%2e%2e", "done", "done/default", "0" * 12, "'"])
def test_a_key_is_no_path(viewer: Viewer, key: str) -> None:
    for address in ("/runs/{}/", "/data/{}", "/events/{}", "/thumbnails/{}/" + "0" * 64):
        assert ask(viewer, f"GET {address.format(key)}")[0] == 404


def test_every_answer_keeps_a_browser_within_bounds(viewer: Viewer, key: str) -> None:
    for address in ("/", f"/runs/{key}/", f"/data/{key}", f"/runs/{key}/{PICTURE}", "/nowhere"):
        _, headers, _ = ask(viewer, f"GET {address}")
        assert "x-content-type-options: nosniff" in headers
        assert "cross-origin-resource-policy: same-origin" in headers
        policy = next(
            line for line in headers.split("\r\n") if line.startswith("content-security-policy: ")
        )
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "access-control" not in headers
    assert "content-type: image/png" in ask(viewer, f"GET /runs/{key}/{PICTURE}")[1]


def test_a_thumbnail_is_found_by_the_digest_of_its_picture(
    viewer: Viewer, key: str, finished: Cli
) -> None:
    sha256 = hashlib.sha256((finished.cwd / RUN / PICTURE).read_bytes()).hexdigest()
    made = viewer.get(f"/thumbnails/{key}/{sha256}")
    assert (made.status_code, made.headers["content-type"]) == (200, "image/webp")
    assert made.content[8:12] == b"WEBP"
    assert "immutable" in made.headers["cache-control"]
    assert viewer.get(f"/thumbnails/{key}/{'0' * 64}").status_code == 404


def test_looking_changes_nothing_in_the_run_directory(
    viewer: Viewer, key: str, finished: Cli
) -> None:
    def state() -> dict[str, bytes]:
        files = [
            path
            for path in (finished.cwd / RUN).rglob("*")
            if path.is_file() and path.suffix != ".sqlite3-shm"
        ]
        return {
            str(path): path.read_bytes()
            for path in files
            if not path.name.endswith(("-wal", "-shm"))
        }

    before = state()
    for address in ("/", f"/runs/{key}/", f"/data/{key}"):
        assert viewer.get(address).status_code == 200
    assert state() == before


@pytest.fixture
def stranger(finished: Cli, tmp_path: Path) -> Iterator[tuple[Path, Viewer]]:
    """A run directory from somebody else, which may hold anything, and a viewer of it."""
    shutil.copytree(finished.cwd / RUN, tmp_path / "theirs")
    (tmp_path / "secret.png").write_bytes((tmp_path / "theirs" / PICTURE).read_bytes())
    with viewing(Cli(tmp_path, None), "theirs") as viewer:
        yield tmp_path / "theirs", viewer


def _change(run_dir: Path, **fields: str) -> None:
    """Have the journal say something else of the first output that was saved."""
    with sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3") as connection:
        row = connection.execute(
            "SELECT seq, body FROM events WHERE type = 'Saved' ORDER BY seq LIMIT 1"
        ).fetchone()
        body = json.dumps({**json.loads(row[1]), **fields})
        connection.execute("UPDATE events SET body = ? WHERE seq = ?", (body, row[0]))
    connection.close()


def _own_key(viewer: Viewer) -> str:
    return viewer.url.rstrip("/").rpartition("/")[2]


def _replace_by_a_link(run_dir: Path) -> None:
    (run_dir / PICTURE).unlink()
    (run_dir / PICTURE).symlink_to(run_dir.parent / "secret.png")


def _replace_the_folder_by_a_link(run_dir: Path) -> None:
    (run_dir.parent / "elsewhere").mkdir()
    shutil.move(run_dir / PICTURE, run_dir.parent / "elsewhere" / "0.png")
    shutil.rmtree((run_dir / PICTURE).parent)
    (run_dir / PICTURE).parent.symlink_to(run_dir.parent / "elsewhere")


def _replace_by_a_pipe(run_dir: Path) -> None:
    (run_dir / PICTURE).unlink()
    os.mkfifo(run_dir / PICTURE)


def _replace_by_a_folder(run_dir: Path) -> None:
    (run_dir / PICTURE).unlink()
    (run_dir / PICTURE).mkdir()


_REPLACEMENTS = [
    _replace_by_a_link,
    _replace_the_folder_by_a_link,
    _replace_by_a_pipe,
    _replace_by_a_folder,
]
_PATHS = ["../secret.png", ".crucible/journal.sqlite3", "/etc/passwd", "a/../../secret.png"]


# Each case starts a viewer of its own.
@pytest.mark.parametrize("replace", quick_where(_REPLACEMENTS, _REPLACEMENTS[:2].__contains__))
def test_what_leads_out_of_the_run_directory_is_not_followed(
    stranger: tuple[Path, Viewer], replace: object
) -> None:
    run_dir, viewer = stranger
    key, sha256 = _own_key(viewer), hashlib.sha256((run_dir / PICTURE).read_bytes()).hexdigest()
    assert viewer.get(f"/runs/{key}/{PICTURE}").status_code == 200
    replace(run_dir)  # type: ignore[operator]
    assert viewer.get(f"/runs/{key}/{PICTURE}").status_code == 404
    assert viewer.get(f"/thumbnails/{key}/{sha256}").status_code == 404


@pytest.mark.parametrize("path", quick_where(_PATHS, _PATHS[:1].__contains__))
def test_a_journal_that_names_other_files_gets_none_of_them(
    finished: Cli, tmp_path: Path, path: str
) -> None:
    shutil.copytree(finished.cwd / RUN, tmp_path / "theirs")
    (tmp_path / "secret.png").write_bytes(b"secret")
    _change(tmp_path / "theirs", path=path, sha256="ab" * 32)
    with viewing(Cli(tmp_path, None), "theirs") as viewer:
        key = _own_key(viewer)
        paths = [output["path"] for job in viewer.data(key)["jobs"] for output in job["outputs"]]
        assert path in paths
        for address in (
            f"/runs/{key}/{path}",
            f"/runs/{key}/{path.replace('/', '%2f')}",
            f"/thumbnails/{key}/{'ab' * 32}",
        ):
            assert ask(viewer, f"GET {address}")[0] == 404


def test_a_type_that_a_browser_could_run_is_served_as_bytes(finished: Cli, tmp_path: Path) -> None:
    shutil.copytree(finished.cwd / RUN, tmp_path / "theirs")
    _change(tmp_path / "theirs", mime_type="text/html")
    with viewing(Cli(tmp_path, None), "theirs") as viewer:
        key = _own_key(viewer)
        outputs = [output for job in viewer.data(key)["jobs"] for output in job["outputs"]]
        (odd,) = [output for output in outputs if output["mime_type"] == "text/html"]
        assert (
            viewer.get(f"/runs/{key}/{odd['path']}").headers["content-type"]
            == "application/octet-stream"
        )


def test_a_broken_journal_is_told_and_a_link_is_no_run(finished: Cli, tmp_path: Path) -> None:
    (tmp_path / "all" / "broken" / ".crucible").mkdir(parents=True)
    (tmp_path / "all" / "broken" / ".crucible" / "journal.sqlite3").write_bytes(
        b"no database at all" * 100
    )
    (tmp_path / "all" / "link").symlink_to(finished.cwd / RUN)
    with viewing(Cli(tmp_path, None), "all") as viewer:
        text = viewer.get("/").text
        assert "be read as a journal" in text
        (broken,) = re.findall(r'id="run-(\w+)"', text)
        answer = viewer.get(f"/runs/{broken}/")
        assert (answer.status_code, "is damaged" in answer.text) == (503, True)
