"""A manifest that extends another file: what counts, where mistakes are, and what it may read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Problem
from crucible_batch.manifest import JobSpec, Manifest, expand, load_manifest
from tests.harness.case_table import directory_of_case, each_case

BASE = """\
version: 1
workflow: z
params: {size.width: 768, size.height: 512}
budget: {credits: 20, max_credits_per_job: 4}
matrix: {style: [noir, ink], size: [1, 2]}
vars: {brand: Acme}
retry: {attempts: 2, never: [A, B]}
"""
OWN = """\
extends: base.yaml
name: spring
params: {size.width: 1024}
matrix: {style: [ink]}
retry: {never: [C]}
jobs:
  - {name: hero, prompt: "{{ style }} {{ size }} {{ brand }}"}
"""


def loaded(folder: Path, own: str = OWN, base: str = BASE, **options: Any) -> Manifest:
    (folder / "base.yaml").write_text(base)
    (folder / "m.yaml").write_text(own)
    return load_manifest(folder / "m.yaml", **options)


def problems(folder: Path, own: str = OWN, base: str = BASE, **options: Any) -> Sequence[Problem]:
    try:
        made = list(expand(loaded(folder, own, base, **options)))
    except ManifestError as error:
        return error.problems
    return [item for item in made if isinstance(item, Problem)]


def places(found: Sequence[Problem]) -> list[tuple[str, int, int, str]]:
    return [
        (each.place.file.name, each.place.line, each.place.column, each.field) for each in found
    ]


def test_mappings_are_merged_by_key_and_lists_are_replaced(tmp_path: Path) -> None:
    manifest = loaded(tmp_path)
    header = manifest.header
    assert (header.version, header.name, header.workflow) == (1, "spring", "z")
    assert header.params == {"size.width": 1024, "size.height": 512}
    assert (header.retry.attempts, header.retry.never) == (2, ["C"])
    assert (str(header.budget.credits), str(header.budget.max_credits_per_job)) == ("20", "4")
    made = [item for item in expand(manifest) if isinstance(item, JobSpec)]
    assert [job.prompt for job in made] == ["ink 1 Acme", "ink 2 Acme"]


def test_axes_keep_the_order_of_the_base(tmp_path: Path) -> None:
    own = OWN.replace("{style: [ink]}", "{size: [3], style: [ink, oil], light: [day]}")
    manifest = loaded(tmp_path, own)
    assert list(manifest.header.matrix) == ["style", "size", "light"]


def test_jobs_of_the_base_are_replaced_by_those_of_the_manifest(tmp_path: Path) -> None:
    base = f"{BASE}jobs:\n  - {{name: other, prompt: x}}\n"
    assert [entry.job.name for entry in loaded(tmp_path, OWN, base).jobs] == ["hero"]
    without = "extends: base.yaml\nname: spring\n"
    assert [entry.job.name for entry in loaded(tmp_path, without, base).jobs] == ["other"]


def test_a_mapping_and_another_value_do_not_mix(tmp_path: Path) -> None:
    assert str(loaded(tmp_path, f"{OWN}budget: 5\n").header.budget.credits) == "5"
    own, base = (
        f"{OWN}budget: {{max_credits_per_job: 3}}\n",
        BASE.replace("{credits: 20, max_credits_per_job: 4}", "9"),
    )
    assert loaded(tmp_path, own, base).header.budget.credits is None


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/base.yaml").write_text(f"{BASE}jobs:\n  - {{name: a, prompt: '@p.txt'}}\n")
    (tmp_path / "p.txt").write_text("from the folder of the manifest")
    (tmp_path / "shared/p.txt").write_text("from the folder of the base")
    (tmp_path / "m.yaml").write_text("extends: shared/base.yaml\nname: spring\n")
    made = [
        item for item in expand(load_manifest(tmp_path / "m.yaml")) if isinstance(item, JobSpec)
    ]
    assert {job.prompt for job in made} == {"from the folder of the manifest"}


@each_case(
    "own, base, expected",
    [
        # form, in each file
        (OWN, BASE.replace("4}", "x}"), [("base.yaml", 4, 44, "budget.max_credits_per_job")]),
        (OWN.replace("[C]", "3"), BASE, [("m.yaml", 5, 16, "retry.never")]),
        (OWN, f"{BASE}colour: red\n", [("base.yaml", 8, 1, "colour")]),
        # what is missing is missing in the manifest
        (OWN.replace("name: spring\n", ""), BASE, [("m.yaml", 1, 1, "name")]),
        # rules between fields of both files
        (OWN, BASE.replace("brand", "style"), [("m.yaml", 4, 10, "matrix.style")]),
        (
            OWN.replace("hero,", "hero, zip: {size: [1]},"),
            BASE,
            [("m.yaml", 7, 24, "jobs[0].zip.size")],
        ),
        # templates and jobs
        (OWN, BASE.replace("brand", "other"), [("m.yaml", 7, 26, "jobs[0].prompt")]),
        (
            "extends: base.yaml\nname: spring\n",
            f"{BASE}jobs:\n  - {{name: a, prompt: '{{{{ b }}}}'}}\n",
            [("base.yaml", 9, 23, "jobs[0].prompt")],
        ),
        (OWN, BASE.replace("size.width: 768", "a: '{{ b }}'"), [("base.yaml", 3, 13, "params.a")]),
        # YAML, in each file
        (OWN, f"{BASE}version: 1\n", [("base.yaml", 8, 1, "")]),
        (OWN, "- a\n", [("base.yaml", 1, 1, "")]),
        (OWN, "a: [\n", [("base.yaml", 2, 1, "")]),
        (OWN, "", [("base.yaml", 1, 1, "")]),
        # a line with a mistake of YAML hides others of that line in that file only
        (
            OWN.replace("matrix: {style: [ink]}\n", "").replace("[C]", "3"),
            BASE.replace("budget:", "workflow: y\nbudget:"),
            [("base.yaml", 4, 1, ""), ("m.yaml", 4, 16, "retry.never")],
        ),
    ],
)
def test_mistakes_are_placed_in_their_file(
    tmp_path: Path, own: str, base: str, expected: list[tuple[str, int, int, str]]
) -> None:
    assert places(problems(directory_of_case(tmp_path, 0), own, base)) == expected


@each_case(
    "own, message",
    [
        ("extends: ../base.yaml", "'../base.yaml' is outside the manifest's directory"),
        ("extends: link.yaml", "'link.yaml' is outside the manifest's directory"),
        ("extends: missing.yaml", "can't be read: no such file or directory"),
        ("extends: Base.yaml", "can't be read: no such file or directory"),
        ("extends: folder", "'folder' is a directory"),
        ("extends: pipe", "'pipe' is not a regular file"),
        ("extends: m.yaml", "'m.yaml' is extended, and can't extend another file itself"),
        ("extends: second.yaml", "'second.yaml' is extended, and can't extend another file itself"),
        ('extends: "a\\0b"', "contains a NUL character"),
    ],
)
def test_a_base_is_a_file_of_the_folder(tmp_path: Path, own: str, message: str) -> None:
    import os

    (tmp_path / "base.yaml").write_text(BASE)
    folder = tmp_path / "inner"
    folder.mkdir(exist_ok=True)
    for name in ("link.yaml", "pipe"):
        (folder / name).unlink(missing_ok=True)
    (folder / "link.yaml").symlink_to("../base.yaml")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "second.yaml").write_text("extends: base.yaml\n")
    (problem,) = problems(folder, f"{own}\nname: spring\njobs: [{{name: a, prompt: x}}]\n")
    assert message in problem.message
    assert (problem.field, problem.place.line) == ("extends", 1)
    if "Base" in own:
        assert problem.nearest == "base.yaml"
    else:
        assert problem.hint or "can't be read" in message or "is" in message


@each_case(
    "value, message", [("[a]", "must be text, got a list"), ("''", "is empty"), ("", "is empty")]
)
def test_extends_is_a_path(tmp_path: Path, value: str, message: str) -> None:
    found = problems(tmp_path, OWN.replace("base.yaml", value))
    (problem,) = [each for each in found if each.field == "extends"]
    assert message in problem.message


def test_files_outside_are_read_if_they_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    folder = tmp_path / "inner"
    folder.mkdir()
    own = OWN.replace("base.yaml", "../base.yaml")
    assert loaded(folder, own, allow_outside=True).header.workflow == "z"


def test_a_large_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="limit is 1,000"):
        loaded(tmp_path, OWN, BASE + "#" * 1000, max_bytes=1000)


def test_a_change_of_either_file_is_a_change_of_the_manifest(tmp_path: Path) -> None:
    """Saved plans of shards compare the digest."""
    before = loaded(tmp_path)
    assert loaded(tmp_path).sha256 == before.sha256
    assert loaded(tmp_path, OWN, BASE.replace("Acme", "Other")).sha256 != before.sha256
    assert loaded(tmp_path, OWN.replace("hero", "hera")).sha256 != before.sha256


def test_the_merged_manifest_is_one_file_with_the_same_jobs_and_digest(tmp_path: Path) -> None:
    """Machines that have neither file are given this one."""
    manifest = loaded(tmp_path)
    content = manifest.content()
    assert hashlib.sha256(content).hexdigest() == manifest.sha256
    alone = tmp_path / "alone.yaml"
    alone.write_bytes(content)
    again = load_manifest(alone)
    assert again.sha256 == manifest.sha256
    assert again.bases == ()
    assert list(expand(again)) == list(expand(manifest))
    assert again.header == manifest.header


def test_a_manifest_without_a_base_is_its_file(tmp_path: Path) -> None:
    manifest = loaded(
        tmp_path,
        OWN.replace("extends: base.yaml", "version: 1\nworkflow: z\nvars: {brand: a, size: 1}"),
    )
    assert manifest.content() == (tmp_path / "m.yaml").read_bytes()
    assert manifest.sha256 == hashlib.sha256(manifest.content()).hexdigest()
    assert manifest.merged is None


def test_a_value_that_is_given_in_python_may_extend_a_file(
    tmp_path: Path, monkeypatch: Any
) -> None:
    import crucible_batch as api

    (tmp_path / "base.yaml").write_text(BASE)
    monkeypatch.chdir(tmp_path)
    jobs = [{"name": "hero", "prompt": "{{ style }} {{ size }}"}]
    manifest, count = api.validate({"extends": "base.yaml", "name": "spring", "jobs": jobs})
    assert (manifest.header.workflow, count) == ("z", 4)
