"""Jobs that are made from outputs: their identity, and what can't be made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.errors import Problem
from crucible_batch.features.stages.derived_jobs import DerivedJobs, SavedOutputs
from crucible_batch.manifest import expand, load_manifest
from crucible_batch.planner import Planner
from tests.harness.job_events import saved_event

HEAD = "version: 1\nname: test\nworkflow: z\nduplicates: {duplicates}\njobs:\n"
JOBS = (
    '  - {name: d, prompt: "p {{ repeat }}", repeat: 3}\n'
    '  - {name: "f-{{ source.name }}", from: "d-*", matrix: {scale: [2, 4]},'
    ' params: {scale: "{{ scale }}"}}\n'
    '  - {name: last, prompt: q}\n'
    '  - {name: "g-{{ source.name }}", from: "f-*", prompt: "{{ source.axes.scale }}"}\n'
)  # fmt: skip


class Recorded(SavedOutputs):
    """Outputs as a journal would have them."""

    def __init__(self, outputs: dict[str, list[Saved]], former: Sequence[PlannedJob] = ()) -> None:
        super().__init__(Path("/out"))
        self.outputs = outputs
        self.former = former
        self.phase = Phase.SUCCEEDED
        self.are_there = True

    def owners(self) -> dict[str, tuple[str, int]]:
        return {
            each.identity: (each.source.name, each.source.index)
            for each in self.former
            if each.source
        }

    def of(self, planned: PlannedJob) -> list[Saved]:
        return self.outputs.get(planned.name, [])

    def job(self, planned: PlannedJob) -> Job:
        return Job(planned.identity, phase=self.phase)

    def is_there(self, saved: Saved) -> bool:
        return self.are_there


def saved(name: str, index: int, content: str | None = None) -> Saved:
    digest = (content or f"{name}{index}").encode().hex().ljust(64, "0")[:64]
    path = f"{name}/{index}.png"
    return saved_event(index, path, sha256=digest, byte_size=9)


def plan(
    folder: Path,
    outputs: dict[str, list[Saved]] | Recorded,
    *,
    duplicates: str = "error",
    jobs: str = JOBS,
    former: Sequence[PlannedJob] = (),
) -> tuple[DerivedJobs, list[PlannedJob], list[Problem]]:
    path = folder / "m.yaml"
    path.write_text(HEAD.replace("{duplicates}", duplicates) + jobs)
    manifest = load_manifest(path)
    recorded = outputs if isinstance(outputs, Recorded) else Recorded(outputs, former)
    derived = DerivedJobs(manifest, "r", recorded)

    def read(path: Path) -> InputImage:
        return InputImage(AssetSpec("ff" * 32, 1, "image/png", path.name), path)

    planner = Planner(
        manifest_name="test",
        run_id="r",
        duplicates=duplicates,
        workflows={},
        read_image=derived.reader(read),
        owners=derived.owners,
    )
    derived.begin(planner)
    planned: list[PlannedJob] = []
    problems: list[Problem] = []
    for item in planner.plan(expand(manifest, expander=derived.expander)):
        if isinstance(item, Problem):
            problems.append(item)
        elif derived.take(item):
            planned.append(item)
    return derived, planned, problems


def facts(jobs: Sequence[PlannedJob]) -> dict[str, Any]:
    return {
        job.name: (job.identity, job.output, job.images, job.prompt, job.source, job.params)
        for job in jobs
    }


@given(
    order=st.permutations(["d-1", "d-2", "d-3"]),
    counts=st.tuples(*[st.integers(1, 3)] * 3),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_later_plan_has_the_jobs_that_the_run_has_added(
    tmp_path_factory: Any, order: list[str], counts: tuple[int, ...], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    derived, first, problems = plan(folder, {})
    assert problems == []
    assert [job.name for job in first] == ["d-1", "d-2", "d-3", "last"]
    by_name = {job.name: job for job in first}
    outputs: dict[str, list[Saved]] = {}
    added: list[PlannedJob] = []
    ready = [
        (name, index) for name, count in zip(order, counts, strict=True) for index in range(count)
    ]
    while ready:
        name, index = ready.pop(data.draw(st.integers(0, len(ready) - 1)))
        output = saved(name, index)
        outputs.setdefault(name, []).append(output)
        made = derived.derive(by_name[name], output)
        assert derived.derive(by_name[name], output) == []
        by_name |= {job.name: job for job in made}
        added += made
        ready += [(job.name, 0) for job in made]
    for each in outputs.values():
        each.sort(key=lambda output: output.index)
    _, again, problems = plan(folder, outputs)
    assert problems == []
    assert facts(again) == facts([*first, *added])
    assert len({job.identity for job in again}) == len(again)


def test_the_identity_is_made_of_the_bytes_and_not_of_the_name_of_the_source(
    tmp_path: Path,
) -> None:
    entry = '  - {name: d, prompt: p}\n  - {name: "f", from: "d*"}\n'
    renamed = '  - {name: d2, prompt: p}\n  - {name: "g", from: "d*"}\n'
    _, one, _ = plan(tmp_path, {"d": [saved("d", 0, "same")]}, jobs=entry)
    _, two, _ = plan(tmp_path, {"d2": [saved("d2", 0, "same")]}, jobs=renamed)
    _, other, _ = plan(tmp_path, {"d2": [saved("d2", 0, "other")]}, jobs=renamed)
    assert one[1].identity == two[1].identity != other[1].identity


def test_a_job_that_left_the_plan_makes_none_though_another_has_its_name(tmp_path: Path) -> None:
    """Its prompt was changed while it was in flight.

    It is collected; what it made is not a source any more.
    """
    _, former, _ = plan(tmp_path, {})
    derived, planned, _ = plan(tmp_path, {}, jobs=JOBS.replace('"p {{', '"another p {{'))
    assert former[0].name == planned[0].name
    assert derived.derive(former[0], saved("d-1", 0, "former")) == []
    made = derived.derive(planned[0], saved("d-1", 0))
    assert [(job.name, job.source.sha256 if job.source else None) for job in made] == [
        (name, saved("d-1", 0).sha256) for name in ("f-d-1-2", "f-d-1-4")
    ]


def test_equal_outputs_are_handled_as_the_manifest_says(tmp_path: Path) -> None:
    jobs = (
        '  - {name: d, prompt: "p {{ repeat }}", repeat: 2}\n'
        '  - {name: "f-{{ source.name }}", from: "d-*"}\n'
    )
    outputs = {"d-1": [saved("d-1", 0, "same")], "d-2": [saved("d-2", 0, "same")]}
    _, error, problems = plan(tmp_path, outputs, jobs=jobs)
    assert problems == []  # the first stage is paid, so the manifest is not refused
    assert [job.name for job in error] == ["d-1", "d-2", "f-d-1"]
    _, once, _ = plan(tmp_path, outputs, jobs=jobs, duplicates="once")
    assert [job.name for job in once] == ["d-1", "d-2", "f-d-1"]
    _, each, _ = plan(tmp_path, outputs, jobs=jobs, duplicates="each")
    assert [job.name for job in each] == ["d-1", "d-2", "f-d-1", "f-d-2"]
    assert each[2].identity != each[3].identity


@pytest.mark.parametrize("duplicates", ["error", "once", "each"])
@given(order=st.permutations(["d-1", "d-2", "d-3"]), done=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_of_equal_outputs_the_next_plan_keeps_those_that_were_taken(
    tmp_path_factory: Any, duplicates: str, order: list[str], done: int
) -> None:
    """Which of them was saved first is chance, and a later stage may use its name."""
    folder = tmp_path_factory.mktemp("plan")
    jobs = (
        '  - {name: d, prompt: "p {{ repeat }}", repeat: 3}\n'
        '  - {name: "f-{{ source.name }}", from: "d-*", params: {a: 1}, repeat: 2}\n'
        '  - {name: "g-{{ source.name }}", from: "f-*", prompt: "{{ source.name }}"}\n'
    )
    outputs: dict[str, list[Saved]] = {}
    added: list[PlannedJob] = []

    def derive(names: list[str]) -> None:
        for name in names:
            outputs[name] = [saved(name, 0, "same")]
            for made in derived.derive(by_name[name], outputs[name][0]):
                outputs[made.name] = [saved(made.name, 0)]
                added.extend([made, *derived.derive(made, outputs[made.name][0])])

    derived, first, _ = plan(folder, outputs, duplicates=duplicates, jobs=jobs)
    by_name = {job.name: job for job in first}
    derive(order[:done])
    derived, again, problems = plan(
        folder, outputs, duplicates=duplicates, jobs=jobs, former=[*first, *added]
    )
    assert problems == []
    assert facts(again) == facts([*first, *added])
    derive(order[done:])
    _, again, _ = plan(folder, outputs, duplicates=duplicates, jobs=jobs, former=[*first, *added])
    assert facts(again) == facts([*first, *added])


def test_the_jobs_of_an_output_that_is_gone_are_found_by_an_equal_one(tmp_path: Path) -> None:
    jobs = (
        '  - {name: d, prompt: "p {{ repeat }}", repeat: 2}\n'
        '  - {name: "f-{{ source.name }}", from: "d-*"}\n'
    )
    same = {name: [saved(name, 0, "same")] for name in ("d-1", "d-2")}
    _, former, _ = plan(tmp_path, {"d-2": same["d-2"]}, duplicates="each", jobs=jobs)
    only = jobs.replace("d-*", "d-1")
    _, again, _ = plan(tmp_path, same, duplicates="each", jobs=only, former=former)
    assert again[-1].identity == former[-1].identity


@pytest.mark.parametrize("phase", Phase)
def test_a_job_that_needs_a_file_that_is_gone_waits_until_it_is_downloaded_again(
    tmp_path: Path, phase: Phase
) -> None:
    """Even if it was begun: its image may not have been uploaded, and would not be found."""
    jobs = '  - {name: d, prompt: p}\n  - {name: "f", from: "d"}\n'
    outputs = Recorded({"d": [saved("d", 0)]})
    outputs.phase, outputs.are_there = phase, False
    derived, planned, _ = plan(tmp_path, outputs, jobs=jobs)
    waits = phase in {Phase.READY, Phase.PREPARING}
    assert [job.name for job in planned] == (["d"] if waits else ["d", "f-d"])
    outputs.are_there = True
    assert [job.name for job in derived.derive(planned[0], saved("d", 0))] == (
        ["f-d"] if waits else []
    )


def test_an_output_that_was_lost_before_its_source_was_complete_makes_no_job_in_this_run(
    tmp_path: Path,
) -> None:
    """The job would fail for good; the next run notices the loss, and downloads it again."""
    jobs = '  - {name: d, prompt: p}\n  - {name: "f", from: "d"}\n'
    outputs = Recorded({})
    derived, planned, _ = plan(tmp_path, outputs, jobs=jobs)
    outputs.are_there = False
    assert derived.derive(planned[0], saved("d", 0)) == []
    outputs = Recorded({"d": [saved("d", 0)]})
    _, planned, _ = plan(tmp_path, outputs, jobs=jobs)
    assert [job.name for job in planned] == ["d", "f-d"]


def test_an_output_that_can_not_be_an_input_blocks_its_job_only(tmp_path: Path) -> None:
    big = saved_event(0, "d-1/0.png", byte_size=2**40)
    derived, planned, problems = plan(tmp_path, {"d-1": [big], "d-2": [saved("d-2", 0)]})
    assert problems == []
    assert [job.name for job in planned] == ["d-1", "d-2", "d-3", "f-d-2-2", "f-d-2-4", "last"]
    assert derived.derive(planned[0], big) == []


def test_a_mistake_in_a_stage_is_a_problem_before_and_after_its_sources_have_run(
    tmp_path: Path,
) -> None:
    jobs = "  - {name: d, prompt: p}\n  - {name: f, from: d, params: {image.image: x}}\n"
    for outputs in ({}, {"d": [saved("d", 0)]}):
        _, _, problems = plan(tmp_path, outputs, jobs=jobs)
        assert ["image.image" in problem.message for problem in problems] == [True]
