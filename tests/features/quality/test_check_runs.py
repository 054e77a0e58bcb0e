"""Runs whose outputs are checked: what is marked, rejected and failed, once, whatever happens.

Each is one run: those that follow it in the same command are in ``test_retakes.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.events import Saved
from crucible_batch.errors import CheckCommandError, ExitCode, UserError
from crucible_batch.features.quality import checker
from crucible_batch.features.quality.checker import OutputChecks
from crucible_batch.features.redo.rejections import REJECTS_FILE
from crucible_batch.features.registry import runner_of
from crucible_batch.journal import Journal
from tests.harness.object_store import URL
from tests.harness.stopped_runs import STRIDE, Killer, stop_after

SHORT_JOBS = True
HAS_PAGES = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SIX = '{name: heron, prompt: "a heron {{ repeat }}", repeat: 6}'
SAME = "{name: heron, prompt: heron, repeat: 3, params: {sampler.seed: 7}}"


def marks(result: api.RunResult) -> dict[str, list[tuple[str, str]]]:
    """The marks of each output, by its job's name and number."""
    return {
        f"{row.name}/{output.index}": [(mark.check, mark.verdict) for mark in output.checks]
        for row in result.jobs()
        for output in row.outputs
        if output.checks
    }


def rejects(result: api.RunResult) -> list[str]:
    file = result.run_dir / REJECTS_FILE
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(autouse=True)
def _one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucible_batch.api.complete_runner_of", runner_of)


class Counted:
    """Counts the measurements of all runs of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        measure = OutputChecks._measure

        def counted(checks: OutputChecks, saved: Saved) -> Any:
            self.paths.append(saved.path)
            return measure(checks, saved)

        monkeypatch.setattr(OutputChecks, "_measure", counted)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


async def test_black_pictures_are_flagged_and_the_run_succeeds(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        result = await bench.run(bench.manifest(SIX, head="checks: {blank: flag}\n"))
        await bench.agree(result)
    assert result.exit_code == 0
    assert sorted(itertools.chain(*marks(result).values())) == [("blank", "flag")] * 2
    checks = result.report.checks
    assert checks is not None
    assert (checks.checked, checks.flagged, checks.by_check) == (6, 2, {"blank": 2})
    assert rejects(result) == []
    page = (result.run_dir / "report.html").read_text()
    assert page.count('"check":"blank"') == 2


async def test_rejected_pictures_are_lines_that_name_their_bytes(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        result = await bench.run(bench.manifest(SIX, head="checks: {blank: reject}\n"))
    assert result.exit_code == 0
    outputs = {
        f"{row.name}/0": row.outputs[0].sha256 for row in result.jobs() if row.outputs[0].checks
    }
    assert sorted(rejects(result)) == sorted(
        f"{name} g0 {digest[:12]} check blank: one colour" for name, digest in outputs.items()
    )
    assert len(outputs) == 2


async def test_a_job_whose_output_fails_a_check_has_failed_and_keeps_its_file(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: fail}\n")
        result = await bench.run(manifest)
        await bench.agree(result)
        again = await bench.run(manifest)

        assert len((await bench.state())["jobs"]) == 6
    assert (result.exit_code, again.exit_code) == (ExitCode.SOME_FAILED, ExitCode.SOME_FAILED)
    assert (result.report.counts.succeeded, result.report.counts.failed) == (4, 2)
    failed = [row for row in again.jobs() if row.status == "failed"]
    assert [row.error.code for row in failed if row.error] == ["CHECK_FAILED"] * 2
    for row in failed:
        assert row.outputs[0].path.is_file()
        assert row.error is not None
        assert "blank: one colour" in row.error.message
    report = json.loads((result.run_dir / "report.json").read_text())
    assert [job["status"] for job in report["jobs"]].count("failed") == 2
    assert api.read_status(result.run_dir).report.counts.failed == 2


async def test_retry_failed_buys_no_job_whose_output_failed_a_check(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: fail}\n")
        await bench.run(manifest)
        again = await bench.run(manifest, retry_failed=True)
        assert len((await bench.state())["jobs"]) == 6
    assert again.exit_code == ExitCode.SOME_FAILED


async def test_a_changed_action_takes_effect_without_another_measurement(
    drawn: Any, measured: Counted
) -> None:
    async with drawn(faults="black=1") as bench:
        for action, code in (("fail", 1), ("flag", 0), ("reject", 0)):
            result = await bench.run(bench.manifest(SIX, head=f"checks: {{blank: {action}}}\n"))
            assert result.exit_code == code
            assert list(marks(result).values()) == [[("blank", action)]]
        assert len(rejects(result)) == 1
        plain = await bench.run(bench.manifest(SIX))
        assert (marks(plain), plain.report.checks) == ({}, None)
    assert len(measured.paths) == 6


async def test_checks_that_are_added_later_are_made_of_all_outputs_at_no_cost(
    drawn: Any, measured: Counted
) -> None:
    async with drawn(faults="black=2") as bench:
        first = await bench.run(bench.manifest(SIX))
        assert first.report.checks is None
        assert measured.paths == []
        result = await bench.run(bench.manifest(SIX, head="checks: {blank: flag}\n"))
        assert len((await bench.state())["jobs"]) == 6
    assert len(marks(result)) == 2
    assert len(measured.paths) == 6


async def test_a_line_that_a_person_removed_is_not_written_again(drawn: Any) -> None:
    async with drawn(faults="black=1") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: reject}\n")
        result = await bench.run(manifest)
        (result.run_dir / REJECTS_FILE).write_text("")
        again = await bench.run(manifest)
    assert rejects(again) == []
    assert len(marks(again)) == 1


async def test_a_line_that_could_not_be_written_is_written_by_the_next_run(
    drawn: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise UserError("rejects.txt can't be written: no space left on device")

    async with drawn(faults="black=1") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: reject}\n")
        with monkeypatch.context() as patched:
            patched.setattr(checker, "add_rejection", full)
            result = await bench.run(manifest)
        assert result.exit_code == 0
        assert "was not rejected: rejects.txt can't be written" in caplog.text
        assert (len(marks(result)), rejects(result)) == (1, [])
        again = await bench.run(manifest)
    assert len(rejects(again)) == 1


async def test_an_entry_may_have_checks_of_its_own(drawn: Any) -> None:
    jobs = (
        "{name: a, prompt: a, repeat: 2}\n"
        "{name: b, prompt: b, checks: {size: {min: [65, 1], then: flag}}}\n"
        "{name: c, prompt: c, checks: {}}"
    )
    async with drawn(faults="black:1") as bench:
        result = await bench.run(bench.manifest(jobs, head="checks: {blank: reject}\n"))
    assert marks(result) == {
        "a-1/0": [("blank", "reject")],
        "a-2/0": [("blank", "reject")],
        "b/0": [("size", "flag")],
    }


async def test_of_duplicates_the_later_in_the_manifests_order_is_marked(drawn: Any) -> None:
    """The first one is saved last."""
    jobs = f"{SAME}\n{{name: other, prompt: other}}"
    async with drawn() as bench:
        manifest = bench.manifest(jobs, head="checks: {duplicate: flag}\n")
        await bench.run(manifest, only=["heron-2", "heron-3"])
        result = await bench.run(manifest)
        reasons = {row.name: row.outputs[0].checks for row in result.jobs()}
        again = await bench.run(manifest)
    # Found in the first run: what is durable stays.
    assert marks(again) == {
        "heron-2/0": [("duplicate", "flag")],
        "heron-3/0": [("duplicate", "flag")],
    }
    assert reasons["heron-2"][0].reason == "a copy of heron-1/0"


async def test_a_check_that_rejects_a_fixed_seed_ends_this_job_only(drawn: Any) -> None:
    async with drawn() as bench:
        manifest = bench.manifest(SAME, head="checks: {duplicate: reject}\n")
        first = await bench.run(manifest)
        assert [line.partition("/")[0] for line in sorted(rejects(first))] == ["heron-2", "heron-3"]
        again = await bench.run(manifest)
        assert len((await bench.state())["jobs"]) == 3
    assert again.exit_code == ExitCode.SOME_FAILED
    codes = {row.name: row.error and row.error.code for row in again.jobs()}
    assert codes == {"heron-1": None, "heron-2": "FIXED_SEED", "heron-3": "FIXED_SEED"}


async def test_what_a_check_rejects_the_next_run_buys_again_into_the_named_file(
    drawn: Any,
) -> None:
    head = "checks: {blank: reject}\nrejects: bad.txt\n"
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head=head)
        first = await bench.run(manifest)
        names = {name.partition("/")[0] for name in marks(first)}
        lines = (manifest.parent / "bad.txt").read_text().splitlines()
        assert {line.partition("/")[0] for line in lines} == names
        assert rejects(first) == []
        second = await bench.run(manifest)
        await bench.agree(second)
        assert (second.exit_code, len((await bench.state())["jobs"])) == (ExitCode.OK, 8)
        third = await bench.run(manifest)
        assert len((await bench.state())["jobs"]) == 8
    assert (marks(second), marks(third)) == ({}, {})
    assert {row.name for row in third.jobs() if row.generation == 1} == names


async def test_what_checks_reject_each_time_ends_at_the_maximum(drawn: Any) -> None:
    async with drawn(faults="black:1") as bench:
        head = "checks: {blank: reject}\nredo: {max: 2}\n"
        manifest = bench.manifest(SIX, head=head)
        for _ in range(4):
            result = await bench.run(manifest)
        assert len((await bench.state())["jobs"]) == 6 * 3
        await bench.agree(result)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert {row.error and row.error.code for row in result.jobs()} == {"REDO_LIMIT"}
    assert len(rejects(result)) == 6


async def test_a_check_that_raises_is_shown_and_the_output_is_kept(
    drawn: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    async with drawn() as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: fail, duplicate: reject}\n")
        with monkeypatch.context() as patched:
            patched.setattr(checker, "is_blank", broken)
            result = await bench.run(manifest)
        assert result.exit_code == 0
        assert result.report.checks is not None
        assert (result.report.checks.unchecked, result.report.checks.checked) == (6, 0)
        assert set(itertools.chain(*marks(result).values())) == {
            ("blank", "unchecked"),
            ("duplicate", "unchecked"),
        }
        assert "could not be made" in caplog.text
        assert rejects(result) == []
        again = await bench.run(manifest)
        assert again.report.checks is not None
        assert (again.report.checks.unchecked, marks(again)) == (0, {})


async def test_an_error_of_ours_leaves_its_output_to_the_next_run(
    drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, broken = OutputChecks._check, itertools.count()

    async def sometimes(checks: OutputChecks, identity: str, index: int) -> None:
        if next(broken) < 5:  # more than there are workers
            raise RuntimeError("a bug")
        await check(checks, identity, index)

    async with drawn(faults="black:1") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: flag}\n")
        with monkeypatch.context() as patched:
            patched.setattr(OutputChecks, "_check", sometimes)
            result = await bench.run(manifest)
        assert (result.exit_code, len(marks(result))) == (0, 1)
        again = await bench.run(manifest)
    assert len(marks(again)) == 6


# -- kills and losses


async def test_a_kill_between_an_output_and_its_verdict_loses_neither(
    drawn: Any, watcher: Any, measured: Counted
) -> None:
    async with drawn(faults="black:1") as bench:
        head = "checks: {blank: reject}\nredo: {max: 1}\n"
        manifest = bench.manifest(SIX, head=head)
        await stop_after(bench, watcher, manifest, Saved, 2)
        before = len(measured.paths)
        result = await bench.run(manifest)
        assert len(rejects(result)) == 6
        # Those that were judged before the kill are bought again, the others by the next run.
        result = await bench.run(manifest)
        assert len((await bench.state())["jobs"]) == 12
        await bench.agree(result)
    assert len(rejects(result)) == 6
    assert before <= 6 <= len(measured.paths)


async def test_a_run_that_is_killed_at_any_effect_judges_each_output_once(
    drawn: Any, tampered: Any
) -> None:
    jobs = "{name: a, prompt: one}\n{name: b, prompt: two}"
    async with drawn(faults="black:0.5") as bench:
        for n in itertools.count(0, 3 * STRIDE):
            manifest = bench.manifest(jobs, head="checks: {blank: reject}\nredo: {max: 50}\n")
            options: dict[str, Any] = {"run_id": f"r{n}", "out_dir": bench.path / f"out-{n}"}
            killer = Killer(n)
            await killer.run(bench, tampered, manifest, **options)
            result = await bench.run(manifest, **options)
            assert result.exit_code == 0, (n, result.report)
            lines = [line.partition(" ")[0] for line in rejects(result)]
            assert len(lines) == len(set(lines)), n
            assert marks(result).keys() <= set(lines), n
            assert result.report.checks is not None
            assert result.report.checks.checked == 2, n
            if not killer.has_struck:
                break
        state = await bench.state()
        assert (state["audit"]["problems"], state["violations"]) == ([], [])
    assert n > 20


async def test_a_verdict_is_not_asked_for_twice(drawn: Any, measured: Counted) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: flag, duplicate: flag}\n")
        first = await bench.run(manifest)
        report = (first.run_dir / "report.json").read_bytes()
        second = await bench.run(manifest)
        assert (second.run_dir / "report.json").read_bytes() == report
    assert len(measured.paths) == len(set(measured.paths)) == 6


@pytest.mark.parametrize("lost", [".crucible", "."])
async def test_after_a_loss_the_verdicts_are_the_same_and_no_line_is_written_twice(
    drawn: Any, lost: str
) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: reject}\n")
        first = await bench.run(manifest)
        before, lines = marks(first), rejects(first)
        shutil.rmtree(first.run_dir / lost)
        result = await bench.run(manifest)
        # The lines in the run directory were lost with it, or are there, so that it buys again.
        again = {".": 0, ".crucible": 2}[lost]
        assert len((await bench.state())["jobs"]) == 6 + again
    assert marks(result) == ({} if again else before)
    assert sorted(rejects(result)) == sorted(lines)


async def test_an_interrupted_run_does_not_wait_for_checks(
    drawn: Any, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = OutputChecks._check

    async def stuck(checks: OutputChecks, identity: str, index: int) -> None:
        await asyncio.Event().wait()

    async with drawn(faults="black:1") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: fail}\n")
        monkeypatch.setattr(OutputChecks, "_check", stuck)
        result = await bench.run(manifest, deadline_s=3600)
        assert result.exit_code == ExitCode.STOPPED
        assert result.report.counts.succeeded == 6
        monkeypatch.setattr(OutputChecks, "_check", judged)
        again = await bench.run(manifest)
    assert (again.exit_code, again.report.counts.failed) == (ExitCode.SOME_FAILED, 6)


async def test_outputs_in_an_object_store_are_checked(drawn: Any, store: Any) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head="checks: {blank: reject, duplicate: flag}\n")
        result = await bench.run(manifest, out_dir=URL)
    assert result.exit_code == 0
    assert sum(("blank", "reject") in found for found in marks(result).values()) == 2


async def test_the_bytes_are_those_that_the_gateway_sent(drawn: Any) -> None:
    head = "checks: {blank: reject}\nprovenance: {embed: true}\n"
    async with drawn(faults="black:1") as bench:
        result = await bench.run(bench.manifest(SIX, head=head))
    for row in result.jobs():
        (output,) = row.outputs
        assert output.sent is not None
        digits = output.sent.sha256[:12]
        assert f"{row.name}/0 g0 {digits} check blank: one colour" in rejects(result)


# -- the program


async def test_a_program_needs_consent_before_anything_is_spent(drawn: Any) -> None:
    async with drawn() as bench:
        manifest = bench.manifest(SIX, head="checks: {command: [./judge]}\n")
        with pytest.raises(CheckCommandError, match="needs your consent: add --allow-command"):
            await bench.run(manifest)
        with pytest.raises(
            CheckCommandError, match=r"m.yaml:\d+:\d+: ./judge is not an executable"
        ):
            await bench.run(manifest, allow_command=True)
        plan = await api.plan(manifest, settings=bench.settings)
        assert any("run needs --allow-command" in note for note in plan.notes)
        assert (await bench.state())["jobs"] == []
        assert not (bench.path / "out").exists()


async def test_rows_have_the_marks_in_python_too(drawn: Any) -> None:
    async with drawn(faults="black:1") as bench:
        result = await bench.run(bench.manifest(SIX, head="checks: {blank: flag}\n"))
        rows = list(result.jobs())
    assert isinstance(rows[0].outputs[0].path, Path)
    assert rows[0].outputs[0].checks[0].reason == "one colour"
    with Journal.read(result.run_dir) as journal:
        assert journal.has_job_notes()
