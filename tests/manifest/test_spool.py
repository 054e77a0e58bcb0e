"""Items go into the spool and come out again, few or many, in order or one by one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Place
from crucible_batch.manifest import source_file, yaml_reader
from crucible_batch.manifest.source_file import Spool
from crucible_batch.manifest.source_map import Node, SourceMap

VALUES: list[Any] = [{"a": [1, 2.5, True, None, "é\udc80", 2**80], "b": {}}, "text", None, [], {"long": "x" * 5000}]


def marks(number: int) -> SourceMap:
    made = SourceMap()
    made.position.extend([number << 37, 5])
    made.span.extend([2, 1])
    return made


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def filled(count: int) -> Spool:
    made = Spool()
    for number in range(count):
        made.add([number, VALUES[number % len(VALUES)], f"{number:01000}"], marks(number))
    return made


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 3000])
def test_what_goes_in_comes_out_in_order(count: int) -> None:
    held = filled(count)
    assert len(held) == count
    for _ in range(2):
        items = list(held)
        assert [value[:2] for value, _ in items] == [[number, VALUES[number % len(VALUES)]] for number in range(count)]
        assert [item.line_column(0)[0] for _, item in items] == list(range(1, count + 1))


@pytest.mark.parametrize("index", [0, 63, 64, 1500, 2998, 2999])
def test_one_item_by_its_index_while_others_are_read(index: int) -> None:
    held = filled(3000)
    reading = iter(held)
    next(reading)
    value, found = held.item(index)
    assert (value[0], found.line_column(0)[0]) == (index, index + 1)
    assert next(reading)[0][0] == 1


def test_few_items_need_no_file_and_many_have_one_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = _open_files()
    few, many = filled(100), filled(3000)
    assert _open_files() == before + 1
    assert list(tmp_path.iterdir()) == []
    del few, many
    assert _open_files() == before


def test_an_alias_leads_to_another_tree() -> None:
    target = marks(41)
    held = Spool()
    for _ in range(2):
        item = marks(1)
        item.aliases[1] = Node(target, 0)
        held.add(["x"], item)
    for _, found in held:
        assert found.target(1).marks.line_column(found.target(1).number)[0] == 42


def test_a_write_that_is_short_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(source_file.os, "write", lambda descriptor, data: write(descriptor, bytes(data[:1000])))
    assert [value[0] for value, _ in filled(3000)] == list(range(3000))


def test_no_room_for_the_jobs_is_said(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(source_file.os, "write", full)
    with pytest.raises(ManifestError, match="temporary directory: No space left") as caught:
        folder.load("jobs:\n" + f"  - {{name: a, prompt: {'x' * 5000}}}\n" * 1000)
    assert caught.value.problems[0].place == Place(folder.path / "manifest.yaml")
    assert "TMPDIR" in (caught.value.problems[0].hint or "")


def test_items_apart_are_what_they_are_together(tmp_path: Path) -> None:
    """The same values, places and problems, whether a list is built whole or handed over item by item."""
    text = (
        "a: &a {x: .nan, y: [1, 2]}\njobs:\n- {n: 1, p: *a}\n- &j [b, c: 010]\n- *j\n- {n: 1, n: 2, <<: 3}\n- *gone\n"
        "- {k: &k z}\nb: [*a, *k]\nc: *j\n"
    )
    path = tmp_path / "m.yaml"
    whole = yaml_reader.parse(text, path)

    class Bytes:
        content = text.encode()

        def read(self, size: int, /) -> bytes:
            piece, self.content = self.content[:size], self.content[size:]
            return piece

        def line(self, _number: int) -> str:
            return ""

        def find(self, _character: str) -> tuple[int, int]:
            return 1, 1

    apart = yaml_reader.read(Bytes(), path, "jobs", Spool())
    jobs = [value for value, _ in apart.value["jobs"]]
    assert {**apart.value, "jobs": jobs} == whole.value
    assert apart.problems.error().problems == whole.problems.error().problems
    assert apart.warnings == whole.warnings
    paths: list[tuple[str | int, ...]] = [
        (), ("a",), ("a", "y", 1), ("jobs",), ("jobs", 0, "n"), ("jobs", 0, "p", "y", 0), ("jobs", 1, 1, "c"),
        ("jobs", 2), ("jobs", 2, 0), ("jobs", 3, "n"), ("jobs", 9), ("b", 0, "x"), ("b", 1), ("c", 1, "c"),
    ]  # fmt: skip
    for path_in in paths:
        assert apart.place(path_in) == whole.place(path_in), path_in
        assert apart.place(path_in, key=True) == whole.place(path_in, key=True), path_in
        for within in (False, True):
            if path_in not in {(), ("jobs",), ("jobs", 9)}:
                found, expected = apart.marks.find(apart.value, 0, path_in), whole.marks.find(whole.value, 0, path_in)
                assert apart.is_sound(found, within=within) == whole.is_sound(expected, within=within), path_in
