"""Entries with ``from``: which jobs they make of which outputs, and what is refused before anything
is bought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError, Problem
from crucible_batch.features.stages.expander import StageExpander
from crucible_batch.manifest import JobSpec, Manifest, SourceFile, expand, load_manifest
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: test\nworkflow: z\njobs:\n"
DRAFTS = '  - {name: draft, prompt: "a {{ style }} heron", matrix: {style: [noir, old]}}\n'


def loaded(folder: Path, entries: str, *, head: str = HEAD, allow_outside: bool = False):
    path = folder / "m.yaml"
    path.write_text(head + entries)
    return load_manifest(path, allow_outside=allow_outside)


def items(folder: Path, entries: str, **options) -> list[JobSpec | Problem]:
    return list(expand(loaded(folder, entries, **options)))


def names(folder: Path, entries: str, **options) -> list[str]:
    return [
        item.name if isinstance(item, JobSpec) else str(item)
        for item in items(folder, entries, **options)
    ]


def problem(folder: Path, entries: str, **options) -> Problem:
    try:
        found = [item for item in items(folder, entries, **options) if isinstance(item, Problem)]
    except ManifestError as error:
        found = list(error.problems)
    assert len(found) == 1, found
    return found[0]


def saved(name: str, *indexes: int) -> list[SourceFile]:
    return [
        SourceFile(index, f"{name}/{index}.png", Path(f"/out/{name}/{index}.png"), f"{index}")
        for index in indexes
    ]


class Expansion(StageExpander):
    """An expansion of a manifest whose jobs have these outputs."""

    def __init__(
        self, manifest: Manifest, outputs_of: Callable[[str], Sequence[SourceFile]]
    ) -> None:
        super().__init__(outputs_of)
        self.manifest = manifest

    def all(self) -> Iterator[JobSpec | Problem]:
        return expand(self.manifest, expander=self)


def expanded(
    folder: Path, entries: str, outputs: dict[str, Sequence[SourceFile]], **options
) -> Expansion:
    def outputs_of(name: str) -> Sequence[SourceFile]:
        return outputs.get(name) or [SourceFile(0, f"{name}/0.png", Path(f"{name}/0.png"))]

    return Expansion(loaded(folder, entries, **options), outputs_of=outputs_of)


def test_a_source_has_its_variables_in_every_template(tmp_path: Path) -> None:
    entry = (
        '  - {name: "f-{{ source.name }}-{{ source.index }}", from: "draft-*",'
        ' workflow: "w-{{ source.axes.style }}", prompt: "{{ source.prompt }}, larger",'
        ' params: {n: "{{ source.index }}", p: "{{ source.path }}"}}\n'
    )
    outputs = {"draft-noir": saved("draft-noir", 0, 1)}
    found = [
        item
        for item in expanded(tmp_path, DRAFTS + entry, outputs).all()
        if isinstance(item, JobSpec)
    ]
    made = [item for item in found if item.source is not None]
    assert [item.name for item in made] == ["f-draft-noir-0", "f-draft-noir-1", "f-draft-old-0"]
    assert made[1].prompt == "a noir heron, larger"
    assert made[1].workflow_id == "w-noir"
    assert made[1].params == {"n": 1, "p": "draft-noir/1.png"}
    assert made[1].image == Path("/out/draft-noir/1.png")
    assert made[1].axes == {"style": "noir"}
    assert [item.is_expected for item in made] == [False, False, True]


@each_case(
    "template, made",
    [
        ("final", ["final-d", "final-d.1", "final-d.2"]),
        ("f-{{ source.name }}", ["f-d", "f-d.1", "f-d.2"]),
        ("f-{{ source.name }}-{{ source.index }}", ["f-d-0", "f-d-1", "f-d-2"]),
    ],
)
def test_names_differ_for_each_output(tmp_path: Path, template: str, made: list[str]) -> None:
    entries = f'  - {{name: d, prompt: p}}\n  - {{name: "{template}", from: d}}\n'
    found = expanded(tmp_path, entries, {"d": saved("d", 0, 1, 2)}).all()
    assert [item.name for item in found if isinstance(item, JobSpec)][1:] == made


def test_jobs_stand_by_entry_then_by_source_then_by_output(tmp_path: Path) -> None:
    entries = (
        "  - {name: d, prompt: p, repeat: 2}\n"
        '  - {name: "f-{{ source.name }}", from: "d-*", matrix: {scale: [2, 4]}}\n'
        "  - {name: last, prompt: q}\n"
    )
    found = expanded(tmp_path, entries, {"d-1": saved("d-1", 0, 1), "d-2": saved("d-2", 0)}).all()
    assert [item.name for item in found if isinstance(item, JobSpec)] == [
        "d-1", "d-2", "f-d-1-2", "f-d-1-4", "f-d-1.1-2", "f-d-1.1-4", "f-d-2-2", "f-d-2-4", "last",
    ]  # fmt: skip


def test_only_entries_above_are_sources(tmp_path: Path) -> None:
    entries = (
        "  - {name: a, prompt: p}\n"
        '  - {name: "b-{{ source.name }}", from: "*"}\n'
        "  - {name: c, prompt: q}\n"
    )
    assert names(tmp_path, entries) == ["a", "b-a", "c"]
    expansion = expanded(tmp_path, entries, {})
    assert len(list(expansion.all())) == 3
    assert [len(made) for _, made in expansion.derive("a", saved("a", 0)[0])] == [1]
    assert list(expansion.derive("c", saved("c", 0)[0])) == []
    assert list(expansion.derive("b-a", saved("b-a", 0)[0])) == []


def test_a_stage_has_no_axes_of_the_manifest(tmp_path: Path) -> None:
    head = HEAD.replace("jobs:", "matrix: {style: [noir, old]}\njobs:")
    entries = (
        '  - {name: d, prompt: "{{ style }}"}\n  - {name: "f-{{ source.name }}", from: "d-*"}\n'
    )
    assert names(tmp_path, entries, head=head) == ["d-noir", "d-old", "f-d-noir", "f-d-old"]


def test_an_output_that_is_saved_during_the_run_makes_the_jobs_that_the_next_plan_has(
    tmp_path: Path,
) -> None:
    entries = (
        DRAFTS + '  - {name: "f-{{ source.name }}", from: "draft-*", repeat: 2}\n'
        '  - {name: "g-{{ source.name }}", from: "f-*"}\n'
    )
    expansion = expanded(tmp_path, entries, {})
    assert all(isinstance(item, JobSpec) for item in expansion.all())
    outputs: dict[str, Sequence[SourceFile]] = {}
    during: list[JobSpec] = []
    for name in (
        "draft-old",
        "f-draft-old-2",
        "draft-noir",
        "f-draft-old-1",
        "f-draft-noir-1",
        "f-draft-noir-2",
    ):
        outputs[name] = saved(name, 0, 1)
        for output in outputs[name]:
            for _, made in expansion.derive(name, output):
                during += [item for item in made if isinstance(item, JobSpec)]
    after = [
        item for item in expanded(tmp_path, entries, outputs).all() if isinstance(item, JobSpec)
    ]
    assert all(
        item.collision is None for item in during
    )  # each has the name that it had when it was expected
    known = {item.name: (item.image, item.prompt, item.params) for item in during}
    planned = {
        item.name: item for item in after if item.source is not None and not item.is_expected
    }
    assert known == {name: (item.image, item.prompt, item.params) for name, item in planned.items()}
    assert len(known) == 4 * 2 + 8


MISSPELT = DRAFTS + '  - {name: f, from: "darft-noir"}\n'
OUTSIDE = DRAFTS + '  - {name: f, from: "d*", pick: ../picks.txt}\n'
UNKNOWN = DRAFTS + '  - {name: f, from: "d*", prompt: "{{ source.nmae }}"}\n'
SAME = DRAFTS + '  - {name: same, from: "d*", prompt: "{{ source.name }}", image: p.png}\n'


@each_case(
    "entries, message, near",
    [
        (MISSPELT, "no job of the entries above is named", "draft-noir"),
        ('  - {name: f, from: "*"}\n', "there is no entry above", None),
        (DRAFTS + '  - {name: f, from: "f*"}\n', "no job of the entries above is named", None),
        ('  - {name: f, pick: picks.txt, prompt: p}\n', "`pick` needs `from`", None),
        (DRAFTS + '  - {name: f, from: "d*", foreach: t.csv}\n', "can't have both", None),
        (DRAFTS + '  - {name: f, from: "d*", zip: {source: [1]}}\n', "reserved in entries", None),
        (OUTSIDE, "outside the manifest's directory", None),
        (DRAFTS + '  - {name: f, from: "d*", pick: "."}\n', "is a directory", None),
        (UNKNOWN, "`source` has no 'nmae'", "name"),
        ('  - {name: f, prompt: "{{ source.name }}"}\n', "the variable 'source' is unknown", None),
        (SAME, "can't be read", None),
        (DRAFTS + '  - {name: "f{{ source.index }}", from: "d*"}\n', "would be named 'f0'", None),
        (DRAFTS + '  - {name: f, form: "d*", prompt: p}\n', "unknown key 'form'", "from"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, entries: str, message: str, near: str | None) -> None:
    found = problem(tmp_path, entries)
    assert message in found.message
    assert found.nearest == near


@each_case("key", ["form: a*", "form: 7", "from_csv: a.csv, foreach: b.csv"])
def test_a_key_like_from_that_names_no_table_means_from(tmp_path: Path, key: str) -> None:
    found = problem(tmp_path, f"  - {{name: a, {key}}}\n")
    assert (found.message.partition(" '")[0], found.nearest) == ("unknown key", "from")


def test_a_variable_may_be_named_source_in_a_manifest_without_stages(tmp_path: Path) -> None:
    head = HEAD.replace("jobs:", "vars: {source: x}\njobs:")
    assert names(tmp_path, '  - {name: "a-{{ source }}", prompt: p}\n', head=head) == ["a-x"]


def test_the_jobs_that_are_expected_count_towards_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        HEAD + '  - {name: d, prompt: p, repeat: 3}\n  - {name: f, from: "d*", repeat: 2}\n'
    )
    *_, last = expand(load_manifest(path, max_jobs=8))
    assert isinstance(last, Problem)
    assert "more than 8 jobs" in last.message


# -- picks

PICKED = (
    "  - {name: d, prompt: p, repeat: 3}\n"
    '  - {name: "f-{{ source.name }}", from: "d-*", pick: picks.txt}\n'
)


def test_a_picks_file_takes_names_and_outputs_and_ignores_the_rest(tmp_path: Path) -> None:
    (tmp_path / "picks.txt").write_text("# best\n\n  d-3 \nd-1/1\nd-1/1\n")
    outputs = {"d-1": saved("d-1", 0, 1), "d-2": saved("d-2", 0), "d-3": saved("d-3", 0, 1)}
    found = [
        item for item in expanded(tmp_path, PICKED, outputs).all() if isinstance(item, JobSpec)
    ]
    assert [item.name for item in found if item.source] == ["f-d-1.1", "f-d-3", "f-d-3.1"]


@pytest.mark.parametrize("text", [None, "", "# none yet\n\n"], ids=["missing", "empty", "comment"])
def test_a_stage_waits_without_picks(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "picks.txt").write_text(text)
    outputs = {"d-1": saved("d-1", 0)}
    waiting = expanded(tmp_path, PICKED, outputs)
    assert [item.is_expected for item in waiting.all() if isinstance(item, JobSpec)] == [
        False
    ] * 3 + [True] * 3
    assert [stage.is_waiting for stage in waiting.stages] == [True]
    assert list(waiting.derive("d-2", saved("d-2", 0)[0])) == []


@pytest.mark.parametrize("picks", ["", "d-2/7\n"])
def test_a_stage_of_jobs_that_are_not_picked_makes_nothing_and_is_no_error(
    tmp_path: Path, picks: str
) -> None:
    """Otherwise the same command would refuse a manifest that it has run, once the picks are known
    to make no job."""
    (tmp_path / "picks.txt").write_text(picks)
    outputs = {f"d-{number}": saved(f"d-{number}", 0) for number in (1, 2, 3)}
    later = '  - {name: g, from: "f-*"}\n  - {name: h, from: "g-f-*"}\n'
    found = list(expanded(tmp_path, PICKED + later, outputs).all())
    jobs = [item for item in found if isinstance(item, JobSpec)]
    assert [item.name for item in jobs if not item.is_expected] == ["d-1", "d-2", "d-3"]
    assert len(found) == len(jobs)


@each_case(
    "content, message",
    [
        (b"d-9\n", "line 1: no job of this stage's `from` is named 'd-9'"),
        (b"d-1\nd-1/x\n", "line 2: no job of this stage's `from` is named 'd-1/x'"),
        (b"d-1\n\xff\n", "is not UTF-8 (line 2)"),
        (b"f-d-1\n", "line 1: no job of this stage's `from` is named 'f-d-1'"),
        (b"d-*\n", "line 1: no job of this stage's `from` is named 'd-*'"),
    ],
)
def test_picks_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "picks.txt").write_bytes(content)
    assert message in problem(tmp_path, PICKED).message


def test_a_link_out_of_the_folder_is_not_read_as_picks(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "picks.txt").write_text("d-1\n")
    (folder / "picks.txt").symlink_to(tmp_path / "picks.txt")
    assert "outside" in problem(folder, PICKED).message
    assert names(folder, PICKED, allow_outside=True) == ["d-1", "d-2", "d-3", "f-d-1"]
