"""Jobs that are made from the outputs of other jobs: one run, runs that are killed, and directories
that are lost.
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.events import Held, Saved
from crucible_batch.core.progress import JobAdvanced, JobsAdded
from crucible_batch.errors import ExitCode, ManifestError
from crucible_batch.journal import Journal
from tests.harness.stopped_runs import STRIDE, Killer

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DRAFTS = '{name: draft, prompt: "heron {{ repeat }}", repeat: 3}'
FINALS = '{name: "final-{{ source.name }}", from: "draft*", workflow: upscale-2x}'
STAGES = f"{DRAFTS}\n{FINALS}"
EDITS = (
    '{name: "edit-{{ source.name }}", from: "final-*", workflow: qwen-edit,'
    ' prompt: "sharper {{ source.name }}"}'
)
THREE_STAGES = f"{STAGES}\n{EDITS}"
PICKED = FINALS.replace("workflow", "pick: picks.txt, workflow")
NAMES = ["draft-1", "draft-2", "draft-3", "final-draft-1", "final-draft-2", "final-draft-3"]


def names_of(result: api.RunResult, status: str | None = None) -> list[str]:
    return [row.name for row in result.jobs() if status in {None, row.status}]


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


async def test_each_output_becomes_a_job_of_the_next_stage(start: Any) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(STAGES))
        await bench.agree(result)
        rows = list(result.jobs())
    assert result.ok
    assert [row.name for row in rows] == NAMES
    for draft, final in zip(rows[:3], rows[3:], strict=True):
        (output,) = draft.outputs
        assert final.source is not None
        assert (final.source.name, final.source.index) == (draft.name, 0)
        assert (result.run_dir / final.source.path, final.source.sha256) == (
            output.path,
            output.sha256,
        )
        assert final.images == {"image.image": output.sha256}
    assert all(row.source is None for row in rows[:3])


async def test_the_report_has_the_entries_and_where_their_jobs_begin(start: Any) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(THREE_STAGES))
        names = [row.name for row in result.jobs()]
    entries = result.report.entries
    assert [(entry.name, entry.before, entry.sources) for entry in entries] == [
        ("draft", 0, None),
        ("final-{{ source.name }}", 3, "draft*"),
        ("edit-{{ source.name }}", 6, "final-*"),
    ]
    assert [names[entry.before] for entry in entries] == [
        "draft-1",
        "final-draft-1",
        "edit-final-draft-1",
    ]


async def test_a_job_starts_as_soon_as_its_source_is_saved(start: Any, watcher: Any) -> None:
    async with start() as bench:
        seen = watcher()
        await bench.run(bench.manifest(STAGES), concurrency=1, observer=seen)
    steps = [
        (message.name, type(message.event))
        for message in seen.messages
        if isinstance(message, JobAdvanced) and isinstance(message.event, Held | Saved)
    ]
    assert steps.index(("final-draft-1", Held)) < steps.index(("draft-3", Held))
    assert [message.source for message in seen.messages if isinstance(message, JobsAdded)] == NAMES[
        :3
    ]


async def test_the_same_command_again_buys_nothing_and_changes_nothing(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(THREE_STAGES)
        first = await bench.run(manifest)
        with Journal.read(first.run_dir) as journal:
            plan = list(journal.plan())
        report = (first.run_dir / "report.json").read_bytes()
        state = await bench.state()
        second = await bench.run(manifest)
        with Journal.read(first.run_dir) as journal:
            assert list(journal.plan()) == plan
        assert second.ok
        assert (first.run_dir / "report.json").read_bytes() == report
        assert (await bench.state())["jobs"] == state["jobs"]
        assert len(plan) == len(state["jobs"]) == 9


async def test_every_output_of_a_source_is_taken(start: Any) -> None:
    sheet = (
        '{name: sheet, prompt: "heron", workflow: zimage-sheet,'
        " params: {size.width: 64, size.height: 64}}"
    )
    finals = '{name: "final-{{ source.name }}", from: sheet, workflow: upscale-2x}'
    async with start() as bench:
        result = await bench.run(bench.manifest(f"{sheet}\n{finals}"))
        await bench.agree(result)
        rows = list(result.jobs())
        assert (await bench.run(bench.manifest(f"{sheet}\n{finals}"))).ok
        assert await bought(bench) == 3
    assert [row.name for row in rows] == ["sheet", "final-sheet", "final-sheet.1"]
    assert [row.source.index for row in rows[1:] if row.source] == [0, 1]


# -- money


async def test_a_run_that_is_killed_at_any_effect_is_finished_without_buying_anything_twice(
    start: Any, tampered: Any
) -> None:
    """Among these moments is the one between the last event of a source and the plan of its job."""
    async with start() as bench:
        for n in itertools.count(0, 2 * STRIDE):
            before = await bought(bench)
            draft = f'{{name: draft, prompt: "heron {n}"}}'
            manifest = bench.manifest(f"{draft}\n{FINALS}", budget="8")
            options: dict[str, Any] = {
                "run_id": f"r{n}",
                "out_dir": bench.path / f"out-{n}",
                "concurrency": 2,
            }
            killer = Killer(n)
            await killer.run(bench, tampered, manifest, **options)
            result = await bench.run(manifest, **options)
            assert result.exit_code == 0, (n, result.report)
            state = await bench.state()
            assert (state["audit"]["problems"], state["violations"]) == ([], [])
            assert len(state["jobs"]) - before == 2, n
            assert names_of(result, "succeeded") == ["draft", "final-draft"]
            if not killer.has_struck:
                break
    assert n > 20  # so many effects there are at least


def everything(out: Path) -> None:
    shutil.rmtree(out)


def journal_only(out: Path) -> None:
    shutil.rmtree(out / ".crucible")


def journal_and_receipts(out: Path) -> None:
    journal_only(out)
    (out / "receipts.jsonl").unlink()


@pytest.mark.parametrize("lose", [everything, journal_only, journal_and_receipts])
async def test_a_lost_directory_comes_back_stage_by_stage(
    start: Any, lose: Callable[[Path], None]
) -> None:
    async with start() as bench:
        manifest = bench.manifest(THREE_STAGES)
        first = await bench.run(manifest)
        state = await bench.state()
        lose(first.run_dir)
        result = await bench.run(manifest)
        assert result.ok
        assert len(names_of(result, "succeeded")) == 9
        after = await bench.state()
    assert [job["job_id"] for job in after["jobs"]] == [job["job_id"] for job in state["jobs"]]
    assert after["audit"]["available"] == state["audit"]["available"]


async def test_a_changed_source_is_a_new_job_and_the_others_are_found(start: Any) -> None:
    async with start() as bench:
        jobs = '{name: draft, prompt: "{{ p }}", zip: {p: [one, two]}}'
        first = await bench.run(bench.manifest(f"{jobs}\n{FINALS}"))
        assert first.ok
        changed = await bench.run(bench.manifest(f"{jobs.replace('two', 'three')}\n{FINALS}"))
        await bench.agree(changed)
        assert changed.ok
        assert names_of(changed) == [
            "draft-one",
            "draft-three",
            "final-draft-one",
            "final-draft-three",
        ]
        assert await bought(bench) == 6


async def test_the_budget_is_kept_over_all_stages(start: Any) -> None:
    async with start() as bench:
        head = "budget: {credits: 9, max_credits_per_job: 2, max_credits_per_upload: 1}\n"
        result = await bench.run(bench.manifest(STAGES, budget=None, head=head))
        state = await bench.agree(result)
        assert result.exit_code is ExitCode.OUT_OF_CREDITS
        assert state["audit"]["spent_on_jobs"] + state["audit"]["spent_on_uploads"] <= Decimal(9)
        more = await bench.run(bench.manifest(STAGES))
        assert names_of(more, "succeeded") == NAMES
        assert await bought(bench) == 6


# -- sources that fail


async def test_a_source_that_failed_blocks_its_jobs_and_the_jobs_of_these(start: Any) -> None:
    async with start(faults="generate.moderate=1") as bench:
        manifest = bench.manifest(THREE_STAGES)
        result = await bench.run(manifest, concurrency=1)
        rows = {row.name: row for row in result.jobs()}
        assert result.exit_code is ExitCode.SOME_FAILED
        assert names_of(result, "failed") == ["draft-1"]
        assert names_of(result, "blocked") == ["final-draft-1", "edit-final-draft-1"]
        assert len(names_of(result, "succeeded")) == 6
        error = rows["final-draft-1"].error
        assert error is not None
        assert error.code == "SOURCE_FAILED"
        assert "draft-1" in error.message
        again = await bench.run(manifest)
        assert names_of(again, "blocked") == ["final-draft-1", "edit-final-draft-1"]
        assert again.exit_code is ExitCode.SOME_FAILED
        retried = await bench.run(manifest, retry_failed=True)
        await bench.agree(retried)
        assert retried.ok
        assert len(names_of(retried, "succeeded")) == 9
        assert len(list(retried.jobs())) == 9


async def test_two_sources_with_the_same_bytes_make_one_job(start: Any) -> None:
    # The sandbox draws both alike.
    jobs = "{name: draft, prompt: heron, repeat: 2, params: {sampler.seed: 7}}"
    async with start() as bench:
        result = await bench.run(bench.manifest(f"{jobs}\n{FINALS}"))
        blocked = [row for row in result.jobs() if row.status == "blocked"]
        assert result.exit_code is ExitCode.SOME_FAILED
        assert [row.error.code for row in blocked if row.error] == ["DERIVED_JOB_INVALID"]
        assert await bought(bench) == 3
        once = await bench.run(bench.manifest(f"{jobs}\n{FINALS}", head="duplicates: once\n"))
        assert once.ok
        each = await bench.run(bench.manifest(f"{jobs}\n{FINALS}", head="duplicates: each\n"))
        assert each.ok
        assert await bought(bench) == 4


# -- picks


async def test_a_picks_file_that_is_there_from_the_beginning_is_followed_in_one_run(
    start: Any,
) -> None:
    async with start() as bench:
        (bench.path / "picks.txt").write_text("# the best\n\ndraft-2\n")
        result = await bench.run(bench.manifest(f"{DRAFTS}\n{PICKED}"))
        assert names_of(result, "succeeded") == [*NAMES[:3], "final-draft-2"]


async def test_a_pick_that_names_no_job_is_refused_before_anything_is_bought(start: Any) -> None:
    async with start() as bench:
        (bench.path / "picks.txt").write_text("draft-2\ndarft-3\n")
        with pytest.raises(ManifestError, match=r"line 2: .*'darft-3'") as caught:
            await bench.run(bench.manifest(f"{DRAFTS}\n{PICKED}"))
        assert caught.value.problems[0].nearest == "draft-3"
        assert await bought(bench) == 0


async def test_what_is_no_longer_picked_is_kept_and_not_bought_again(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(f"{DRAFTS}\n{PICKED}")
        picks = bench.path / "picks.txt"
        picks.write_text("draft-1\n")
        assert (await bench.run(manifest)).ok
        picks.write_text("draft-2\n")
        other = await bench.run(manifest)
        assert names_of(other) == [*NAMES[:3], "final-draft-2"]
        assert (other.run_dir / "final-draft-1" / "0.png").is_file()
        picks.write_text("draft-1\ndraft-2\n")
        both = await bench.run(manifest)
        await bench.agree(both)
        assert names_of(both, "succeeded") == [*NAMES[:3], "final-draft-1", "final-draft-2"]
        assert await bought(bench) == 5


# -- files


@pytest.mark.parametrize("embeds", [True, False])
async def test_a_deleted_source_has_the_same_bytes_again_if_embedding_was_changed(
    start: Any, embeds: bool
) -> None:
    """With other bytes, its finished job would be another one in the run after that, and be paid
    again."""

    def manifest(on: bool) -> Path:
        return bench.manifest(STAGES, head=f"provenance: {{embed: {str(on).lower()}}}\n")

    async with start() as bench:
        first = await bench.run(manifest(embeds))
        (first.run_dir / "draft-2" / "0.png").unlink()
        for _ in range(2):
            again = await bench.run(manifest(not embeds))
            assert (again.ok, names_of(again), await bought(bench)) == (True, NAMES, 6)
        await bench.agree(again)


async def test_a_deleted_source_is_downloaded_before_its_job_is_started(start: Any) -> None:
    async with start() as bench:
        first = await bench.run(bench.manifest(DRAFTS))
        (first.run_dir / "draft-2" / "0.png").unlink()
        result = await bench.run(bench.manifest(STAGES))
        await bench.agree(result)
        assert names_of(result, "succeeded") == NAMES


async def test_a_link_in_place_of_a_source_is_not_uploaded(start: Any) -> None:
    async with start() as bench:
        first = await bench.run(bench.manifest(DRAFTS))
        output, elsewhere = first.run_dir / "draft-2" / "0.png", bench.path / "elsewhere.png"
        output.rename(elsewhere)
        output.symlink_to(elsewhere)
        result = await bench.run(bench.manifest(STAGES))
        assert elsewhere.is_file()
        assert len((await bench.state())["assets"]) == 2
    assert names_of(result, "failed") == ["draft-2"]
    assert names_of(result, "blocked") == ["final-draft-2"]


@pytest.mark.parametrize(
    "path", ["secret.txt", ".secret.png", "../secret.png", ".crucible/secret.png"]
)
async def test_a_path_in_the_journal_that_is_no_output_is_not_uploaded(
    start: Any, path: str
) -> None:
    """A run directory may come from another person."""
    async with start() as bench:
        first = await bench.run(bench.manifest(DRAFTS))
        (first.run_dir / "draft-1" / "0.png").rename(first.run_dir / path)
        move_in_journal(first.run_dir, path)
        await bench.run(bench.manifest(STAGES))
        names = {asset["filename"] for asset in (await bench.state())["assets"]}
    assert Path(path).name not in names


async def test_another_file_under_the_path_of_an_output_is_not_uploaded(start: Any) -> None:
    async with start() as bench:
        first = await bench.run(bench.manifest(DRAFTS))
        content = bytearray((first.run_dir / "draft-1" / "0.png").read_bytes())
        content[-1] ^= 1
        (first.run_dir / "mine.png").write_bytes(content)
        move_in_journal(first.run_dir, "mine.png")
        result = await bench.run(bench.manifest(STAGES))
        names = {asset["filename"] for asset in (await bench.state())["assets"]}
    assert "mine.png" not in names
    assert names_of(result, "succeeded").count("final-draft-1") == 0


def move_in_journal(run_dir: Path, path: str) -> None:
    """Let the journal say that the output of draft-1 is somewhere else."""
    with sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3") as connection:
        connection.execute(
            "UPDATE events SET body = json_set(body, '$.path', ?)"
            " WHERE type = 'Saved' AND json_extract(body, '$.path') = 'draft-1/0.png'",
            [path],
        )
    connection.close()


@pytest.mark.parametrize(
    ("old", "new", "head"),
    [("draft", "sketch", ""), ("none", "none", "output: {path: '{name}-{index}{ext}'}\n")],
    ids=["another name", "another path"],
)
async def test_a_renamed_source_keeps_its_jobs(start: Any, old: str, new: str, head: str) -> None:
    """Its outputs stay where they are.

    The jobs of the stage are done, or are made now if they were not yet.
    """
    async with start() as bench:
        await bench.run(bench.manifest(DRAFTS))
        result = await bench.run(bench.manifest(STAGES.replace(old, new), head=head))
        await bench.agree(result)
        assert (result.ok, len(names_of(result, "succeeded"))) == (True, 6)
        again = await bench.run(bench.manifest(STAGES))
        assert (again.ok, names_of(again, "succeeded")) == (True, NAMES)
        assert await bought(bench) == 6


async def test_a_plan_counts_what_the_next_stages_may_cost(start: Any) -> None:
    async with start() as bench:
        head = "budget: {credits: 12, max_credits_per_job: 3, max_credits_per_upload: 1}\n"
        manifest = bench.manifest(STAGES, budget=None, head=head)
        options: dict[str, Any] = {"settings": bench.settings, "out_dir": bench.path / "out"}
        before = await api.plan(manifest, **options)
        (preview,) = before.stages
        assert (preview.stage.jobs, preview.stage.uploads, preview.stage.is_counted) == (3, 3, True)
        assert before.later == 3 * 3 + 3 * 1
        assert before.over_budget == 9 + 12 - 12
        assert before.enough == 21
        await bench.run(bench.manifest(STAGES))
        after = await api.plan(bench.manifest(STAGES), **options)
        assert after.stages[0].stage.jobs == 0
        assert after.is_settled
        assert after.total == 6


async def test_a_stage_that_is_not_chosen_is_not_bought(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        result = await bench.run(manifest, only=["draft-*"])
        assert (result.exit_code, await bought(bench)) == (0, 3)
        assert names_of(result, "pending") == NAMES[3:]
        assert (await bench.run(manifest, only=["final-draft-1"])).ok
        assert await bought(bench) == 4
        rest = await bench.run(manifest)
        await bench.agree(rest)
        assert (rest.ok, await bought(bench)) == (True, 6)
