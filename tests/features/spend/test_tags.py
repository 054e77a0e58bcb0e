"""The key ``tags`` of manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from crucible_batch.features.spend.manifest_keys import tags_of
from crucible_batch.features.spend.note import note_tags, noted_tags
from crucible_batch.journal import Binding, Journal
from crucible_batch.manifest import load_manifest
from tests.harness.case_table import each_case


def load(folder: Path, tags: str) -> tuple[str, ...]:
    path = folder / "tagged.yaml"
    path.write_text(
        f"version: 1\nname: tagged\nworkflow: w\n{tags}\njobs: [{{name: fox, prompt: a fox}}]\n",
        encoding="utf-8",
    )
    return tags_of(load_manifest(path).header)


@each_case(
    "text, tags",
    [
        ("", ()),
        ("tags: []", ()),
        ("tags: [client-a, spring]", ("client-a", "spring")),
        ('tags: ["2026", "Größe 3 | <b>"]', ("2026", "Größe 3 | <b>")),
        (f"tags: [{'a' * 50}]", ("a" * 50,)),
    ],
)
def test_tags_are_short_texts(text: str, tags: tuple[str, ...], tmp_path: Path) -> None:
    assert load(tmp_path, text) == tags


@each_case(
    "text",
    [
        "tags: spring", "tags: {a: b}", "tags: [2026]", "tags: [[a]]", 'tags: [""]',
        'tags: [" a"]', 'tags: ["a\\nb"]', 'tags: ["a\\u202eb"]', 'tags: ["\\e[31ma"]',
        f"tags: [{'a' * 51}]", "tags: [a, a]", f"tags: [{', '.join(map(chr, range(97, 118)))}]",
    ],
)  # fmt: skip
def test_other_tags_are_refused_with_their_place(text: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as refused:
        load(tmp_path, text)
    (problem,) = refused.value.problems
    assert problem.place.line == 4
    assert "must be a list of at most 20 different texts on one line" in str(problem)


def test_a_journal_has_the_tags_of_the_newest_run(tmp_path: Path) -> None:
    with Journal.open(tmp_path, Binding("a", "b", "https://g"), now=1.0) as journal:
        assert noted_tags(journal) == ()
        for tags in (("a", "b"), ("c",), ()):
            note_tags(journal, tags)
            assert noted_tags(journal) == tags


@each_case("note", ["{", '{"a": 1}', "3", "[1, null]", "[" * 100_000])
def test_a_note_that_was_edited_is_no_tag(note: str, tmp_path: Path) -> None:
    with Journal.open(tmp_path, Binding("a", "b", "https://g"), now=1.0) as journal:
        journal.note("tags", note)
        assert noted_tags(journal) == ()
