"""A manifest's file is read in pieces, and what is wrong with its bytes has its place all the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Place
from crucible_batch.manifest.source_file import Source

MARK = b"\xef\xbb\xbf"
LONG = "# é\n" * 40_000  # more than one piece


def read(path: Path, size: int = 1000, max_bytes: int = 10**7) -> tuple[bytes, str]:
    with Source.opened(path, max_bytes) as source:
        pieces = list(iter(lambda: source.read(size), b""))
        return b"".join(pieces), source.sha256


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("content", [b"", b"a", "é€🚢\n".encode() * 30, MARK + b"a: 1\n"])
def test_pieces_of_any_size_make_the_whole(folder: Any, content: bytes, size: int) -> None:
    path = folder.write("m.yaml", content)
    whole, digest = read(path, max(size, 3))
    assert whole == content.removeprefix(MARK)
    assert digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("before", "line", "column"),
    [
        ("", 1, 1),
        ("a: é", 1, 5),
        ("a\n", 2, 1),
        (LONG, 40_001, 1),
        (LONG + "é: ", 40_001, 4),
        ("x" * 200_000, 1, 200_001),
    ],
)
@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
def test_what_is_no_utf8_has_its_place_wherever_it_is(
    folder: Any, before: str, line: int, column: int, mark: bytes, bad: bytes
) -> None:
    path = folder.write("m.yaml", mark + before.encode() + bad)
    with pytest.raises(ManifestError, match="not UTF-8") as caught:
        read(path, 1000)
    assert caught.value.problems[0].place == Place(path, line, column)


def test_a_file_that_grows_while_it_is_read_is_refused(folder: Any) -> None:
    path = folder.write("m.yaml", b"a" * 100)
    with Source.opened(path, 150) as source, path.open("ab") as more:
        assert source.read(50) == b"a" * 50
        more.write(b"b" * 100)
        more.flush()
        with pytest.raises(ManifestError, match="150 are allowed"):
            source.finish()


def test_lines_and_characters_can_be_looked_at_again(folder: Any) -> None:
    path = folder.write("m.yaml", MARK + b"one\n\xc3\xa9 two\x07\nthree")
    with Source.opened(path, 1000) as source:
        source.finish()
        assert [source.line(number) for number in range(4)] == ["one", "é two\x07", "three", ""]
        assert source.find("\x07") == (2, 6)
        assert source.find("o") == (1, 1)
        assert source.find("\x00") == (1, 1)


@pytest.mark.parametrize("order", ["jobs first", "jobs last"])
def test_a_manifest_of_several_pieces_has_its_places(folder: Any, order: str) -> None:
    head, jobs = "version: 1\nname: t\nworkflow: z\n", "jobs:\n" + "- {name: a, promt: é}\n" * 3000
    path = folder.write("m.yaml", head + jobs if order == "jobs last" else jobs + head)
    from crucible_batch.manifest import load_manifest

    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    first = caught.value.problems[0]
    assert (first.place.line, first.place.column, first.nearest) == (5 if order == "jobs last" else 2, 13, "prompt")
    assert caught.value.omitted == 2900
