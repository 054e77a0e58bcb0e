"""Jobs of a later stage have what their source drew, and don't draw themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from crucible_batch.manifest import JobSpec, expand, load_manifest

DRAFTS = (
    "version: 1\nname: test\nworkflow: z\njobs:\n"
    '  - {name: draft, prompt: "{{ pose }}", draw: {pose: [p, q, r]}, count: 3}\n'
)


def test_a_later_stage_has_what_its_source_drew(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        f'{DRAFTS}  - {{name: large, from: "draft*", prompt: "{{{{ source.axes.pose }}}}"}}\n'
    )
    made = list(expand(load_manifest(path)))
    prompts = [job.prompt for job in made if isinstance(job, JobSpec)]
    assert prompts[3:] == prompts[:3]
    assert sorted(prompts[3:]) == ["p", "q", "r"]


def test_an_entry_with_a_source_does_not_draw(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"{DRAFTS}  - {{name: large, from: draft*, draw: {{p: [x]}}, count: 2}}\n")
    with pytest.raises(ManifestError) as refused:
        load_manifest(path)
    (problem,) = refused.value.problems
    assert (problem.place.line, problem.field) == (6, "jobs[1].draw")
    assert "made from outputs of others" in problem.message
