"""Shards are merged into their main run directory: each once, all of them, and nothing of another
file is lost.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE

import pytest

from crucible_batch.core.events import BecameReady, Created, Event, Found, Lost, Uploaded
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.errors import (
    ExitCode,
    RunBusyError,
    RunDirectoryError,
    ShardsOutstandingError,
    UserError,
)
from crucible_batch.features.shards import merging
from crucible_batch.features.shards.merging import merge
from crucible_batch.journal import Binding, Journal, lock_run_directory
from crucible_batch.runs.outstanding_shards import refuse_if_divided
from crucible_batch.runs.shard_notes import noted_shards
from tests.harness.forked_commands import start_program
from tests.harness.job_events import intended_event
from tests.harness.replacing import replace
from tests.harness.shard_ground import (
    BINDING,
    OK,
    ShardGround,
    content_of,
    done,
    events_of,
    failed,
    in_flight,
    planned,
    saved,
    snapshot,
)

BLOCKED = Ending(RunStatus.BLOCKED, 4, {"workflow:w": ErrorInfo("BUDGET_EXHAUSTED", "too small")})


@pytest.fixture
def ground(tmp_path: Path) -> ShardGround:
    ground = ShardGround(tmp_path)
    ground.divide()
    return ground


def test_the_totals_are_the_sums_of_the_shards(ground: ShardGround) -> None:
    ground.shard(1)
    ground.shard(2, [done(1, 11.0), failed(5, 15.0)], ending=Ending(RunStatus.PARTIAL, 1))
    ground.shard(3, [done(2, 12.0)], ending=BLOCKED)
    ground.shard(4)
    result = merge([ground.main], html=False)
    report = result.report
    assert report is not None
    counts, credits = report.counts, report.credits
    assert (counts.total, counts.succeeded, counts.failed, counts.blocked) == (8, 6, 1, 1)
    assert (credits.spent, credits.held, credits.held_for_refunds, credits.budget) == (
        12,
        2,
        2,
        100,
    )
    assert (result.exit_code, report.status) == (ExitCode.OUT_OF_CREDITS, "blocked")
    assert (report.started_at[14:19], (report.finished_at or "")[14:19]) == ("00:11", "01:44")
    assert result.merged == (1, 2, 3, 4)
    assert result.outputs == 6


def test_outputs_sidecars_receipts_and_report_are_as_after_one_run(ground: ShardGround) -> None:
    ground.all_shards()
    merge([ground.main])
    files = snapshot(ground.main)
    names = [
        name for number in range(8) for name in (f"job-{number}/0.png", f"job-{number}/0.png.json")
    ]
    assert sorted(files) == sorted([*names, "receipts.jsonl", "report.html", "report.json"])
    assert files["job-5/0.png"] == content_of(5)
    assert json.loads(files["job-5/0.png.json"])["output"]["file"] == "0.png"
    assert len(ground.receipts()) == 16
    with Journal.read(ground.main) as journal:
        assert journal.receipted() == 16


def test_events_are_in_the_order_of_their_times(ground: ShardGround) -> None:
    ground.all_shards()
    merge([ground.main], html=False)
    times = [event.at for _, event in events_of(ground.main)]
    assert times == sorted(times)
    assert len(times) == 8 * 4


def test_what_the_main_directory_has_done_before_stays(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide([done(0, 1.0)])
    ground.write(ground.main, saved(0, 1.0))
    ground.shard(1, [done(4, 14.0)])
    for number in (2, 3, 4):
        ground.shard(number)
    result = merge([ground.main], html=False)
    assert result.report is not None
    assert result.report.counts.succeeded == 8
    assert result.report.credits.spent == 16
    assert result.exit_code is ExitCode.OK
    assert [event for _, event in events_of(ground.main)[:4]] == done(0, 1.0)[1]


def test_a_second_merge_changes_nothing_but_the_report(ground: ShardGround) -> None:
    ground.all_shards()
    merge([ground.main], html=False)
    events, files = events_of(ground.main), snapshot(ground.main)
    (ground.main / "report.json").unlink()
    again = merge([ground.main], html=False)
    assert again.is_repeated
    assert not again.merged
    assert again.exit_code is ExitCode.OK
    assert events_of(ground.main) == events
    assert snapshot(ground.main) == files


def test_a_second_merge_succeeds_also_if_jobs_have_failed(ground: ShardGround) -> None:
    ground.shard(1, [failed(0, 10.0), done(4, 14.0)], ending=Ending(RunStatus.PARTIAL, 1))
    for number in (2, 3, 4):
        ground.shard(number)
    assert merge([ground.main], html=False).exit_code is ExitCode.SOME_FAILED
    assert merge([ground.main], html=False).exit_code is ExitCode.OK


def test_shard_directories_can_be_anywhere(ground: ShardGround, tmp_path: Path) -> None:
    elsewhere = [ground.shard(number, at=tmp_path / f"machine-{number}") for number in (1, 2)]
    here = [ground.shard(number) for number in (3, 4)]
    result = merge([*elsewhere, *here], html=False)
    assert result.run_dir.samefile(ground.main)
    assert result.report is not None
    assert result.report.counts.succeeded == 8


def test_the_main_directory_is_named_if_no_shard_directory_is_in_it(
    ground: ShardGround, tmp_path: Path
) -> None:
    shards = [ground.shard(number, at=tmp_path / f"machine-{number}") for number in range(1, 5)]
    with pytest.raises(UserError, match="not known") as caught:
        merge(shards, html=False)
    assert "--out-dir" in (caught.value.hint or "")
    assert merge(shards, out_dir=ground.main, html=False).merged == (1, 2, 3, 4)


def test_a_directory_that_is_given_twice_is_merged_once(
    ground: ShardGround, tmp_path: Path
) -> None:
    shards = ground.all_shards()
    (tmp_path / "link").symlink_to(shards[0])
    assert merge([ground.main, *shards, tmp_path / "link"], html=False).report is not None


def test_two_directories_of_one_shard_are_both_named(ground: ShardGround, tmp_path: Path) -> None:
    ground.all_shards()
    copy = ground.shard(2, at=tmp_path / "copy")
    with pytest.raises(UserError, match="there twice") as caught:
        merge([ground.main, copy])
    assert str(copy) in caught.value.message
    assert "2-of-4" in caught.value.message


def test_a_missing_shard_is_named_and_nothing_is_merged(ground: ShardGround) -> None:
    for number in (1, 2, 4):
        ground.shard(number)
    with pytest.raises(UserError, match=r"shard 3 of 4 is missing") as caught:
        merge([ground.main])
    assert f"crucible-batch merge {ground.main} --abandon 3" in (caught.value.hint or "")
    assert events_of(ground.main) == []
    assert snapshot(ground.main) == {}


def test_the_allowance_of_an_abandoned_shard_is_returned(ground: ShardGround) -> None:
    for number in (1, 2, 4):
        ground.shard(number)
    result = merge([ground.main], abandon=[3], html=False)
    assert result.abandoned == (3,)
    assert result.report is not None
    assert (result.report.counts.succeeded, result.report.counts.pending) == (6, 2)
    assert result.exit_code is ExitCode.STOPPED
    assert result.report.stops["*"].code == "SHARD_ABANDONED"
    with Journal.read(ground.main) as journal:
        shards = noted_shards(journal)
    assert shards is not None
    assert (shards.set_aside, shards.abandoned) == (0, {3})
    refuse_if_divided(ground.main)
    ground.shard(3)
    with pytest.raises(UserError, match="shard 3/4 was abandoned"):
        merge([ground.main], html=False)


def test_a_shard_that_is_about_to_begin_is_not_abandoned(ground: ShardGround) -> None:
    """It holds its directory, and has no journal yet: its allowance would be spent twice."""
    ground.shard(1)
    with lock_run_directory(ground.folder(3)), pytest.raises(RunBusyError, match="3-of-4"):
        merge([ground.main], abandon="all", html=False)
    assert merge([ground.main], abandon="all", html=False).abandoned == (2, 3, 4)


def test_a_shard_that_has_run_since_the_directories_were_read_keeps_its_files(
    ground: ShardGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = merging.choose_shards

    def chosen(*args: object, **options: object) -> object:
        choice = choose(*args, **options)  # type: ignore[arg-type]
        ground.shard(3)
        return choice

    monkeypatch.setattr(merging, "choose_shards", chosen)
    with pytest.raises(RunDirectoryError, match="shard 3 has begun in"):
        merge([ground.main], abandon="all", html=False)
    assert Journal.exists(ground.folder(3))
    assert not ground.folder(2).exists()


def test_while_shards_are_abandoned_none_can_begin(
    ground: ShardGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged, tried = merging._merge, []

    def begin(*args: object, **options: object) -> object:
        for number in (1, 2, 3, 4):
            with pytest.raises(RunBusyError), lock_run_directory(ground.folder(number)):
                pass
            tried.append(number)
        return merged(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "_merge", begin)
    merge([ground.main], abandon="all", html=False)
    assert tried == [1, 2, 3, 4]
    assert not any(ground.folder(number).exists() for number in tried)


def test_all_shards_can_be_abandoned(ground: ShardGround) -> None:
    result = merge([ground.main], abandon="all", html=False)
    assert (result.merged, result.abandoned) == ((), (1, 2, 3, 4))
    assert (result.report, result.exit_code) == (None, ExitCode.OK)
    refuse_if_divided(ground.main)


def test_to_abandon_all_shards_is_no_run_of_its_own(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide([failed(0, 1.0)], ending=Ending(RunStatus.PARTIAL, 1))
    result = merge([ground.main], abandon="all", html=False)
    assert result.exit_code is ExitCode.OK
    with Journal.read(ground.main) as journal:
        assert len(journal.runs()) == 1


def test_a_shard_that_was_run_is_not_abandoned(ground: ShardGround) -> None:
    ground.all_shards()
    with pytest.raises(UserError, match=r"can't be abandoned: it was run in .* spent counts"):
        merge([ground.main], abandon=[2])
    assert events_of(ground.main) == []


def test_a_shard_directory_in_which_no_run_has_begun_is_missing(ground: ShardGround) -> None:
    for number in (1, 2, 4):
        ground.shard(number)
    with Journal.open(ground.folder(3), BINDING, now=1.0):
        pass
    with pytest.raises(UserError, match="shard 3 of 4 is missing"):
        merge([ground.main])
    assert merge([ground.main], abandon=[3], html=False).abandoned == (3,)


def test_shards_of_another_plan_are_refused(ground: ShardGround, tmp_path: Path) -> None:
    ground.all_shards()
    other = ground.shard(1, at=tmp_path / "other", digest="ffff0000" + "0" * 56)
    with pytest.raises(UserError, match="is a shard of plan ffff0000") as caught:
        merge([ground.main, other])
    assert "ab12cd34" in caught.value.message
    assert "ffff0000" in caught.value.message


@pytest.mark.parametrize(
    "binding",
    [
        Binding("other", "default", "https://gateway.example"),
        Binding("campaign", "second", "https://gateway.example"),
        Binding("campaign", "default", "https://elsewhere.example"),
    ],
)
def test_shards_of_another_manifest_run_or_gateway_are_refused(
    ground: ShardGround, binding: Binding
) -> None:
    ground.shard(1, binding=binding)
    for number in (2, 3, 4):
        ground.shard(number)
    with pytest.raises(RunDirectoryError, match="belongs to"):
        merge([ground.main])
    assert events_of(ground.main) == []


def test_a_directory_that_is_no_shard_is_refused(ground: ShardGround, tmp_path: Path) -> None:
    ground.all_shards()
    plain = tmp_path / "plain"
    with Journal.open(plain, BINDING, now=1.0) as journal:
        journal.begin_run(ground.terms, now=1.0)
    with pytest.raises(RunDirectoryError, match="has no shards"):
        merge([plain])
    with pytest.raises(RunDirectoryError, match="has no shards"):
        merge([ground.main, plain])
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        merge([tmp_path / "nowhere"])


def test_a_shard_directory_with_runs_of_two_shards_is_refused(ground: ShardGround) -> None:
    ground.all_shards()
    with Journal.read(ground.folder(2)) as journal:
        terms, binding = journal.runs()[0].terms, journal.binding()
    with Journal.open(ground.folder(1), binding, now=1.0) as journal:
        journal.begin_run(terms, now=200.0)
    with pytest.raises(RunDirectoryError, match="several shards"):
        merge([ground.main])


@pytest.mark.parametrize("which", ["main", "shard"])
def test_a_directory_in_which_a_run_is_active_is_not_merged(
    ground: ShardGround, which: str
) -> None:
    ground.all_shards()
    directory = ground.main if which == "main" else ground.folder(3)
    with lock_run_directory(directory), pytest.raises(RunBusyError) as caught:
        merge([ground.main])
    assert caught.value.exit_code is ExitCode.BUSY
    assert events_of(ground.main) == []


def test_jobs_in_flight_of_an_interrupted_shard_are_in_flight_in_the_main_directory(
    ground: ShardGround,
) -> None:
    interrupted = Ending(
        RunStatus.INTERRUPTED, 130, {"*": ErrorInfo("INTERRUPTED", "stopped by a signal")}
    )
    ground.shard(1, [in_flight(0, 10.0)], ending=interrupted)
    for number in (2, 3, 4):
        ground.shard(number)
    result = merge([ground.main], html=False)
    assert result.exit_code is ExitCode.SIGINT
    assert result.report is not None
    assert result.report.credits.held == 2
    assert result.report.counts.pending == 2


def test_a_killed_shard_is_merged_as_it_is(
    ground: ShardGround, caplog: pytest.LogCaptureFixture
) -> None:
    ground.shard(1, [in_flight(0, 10.0)], ending=None)
    for number in (2, 3, 4):
        ground.shard(number)
    result = merge([ground.main], html=False)
    assert result.exit_code is ExitCode.STOPPED
    assert result.report is not None
    assert result.report.stops["*"].code == "SHARD_UNFINISHED"
    assert "shard 1/4" in caplog.text


INTERRUPTED = Ending(
    RunStatus.INTERRUPTED, 130, {"*": ErrorInfo("INTERRUPTED", "stopped by a signal")}
)
OUT_OF_TIME = Ending(
    RunStatus.STOPPED, 5, {"*": ErrorInfo("DEADLINE_PASSED", "the deadline has passed")}
)
BOTH_STOPPED = replace(
    INTERRUPTED, stops={**INTERRUPTED.stops, "workflow:w": INTERRUPTED.stops["*"]}
)


@pytest.mark.parametrize(
    ("first", "second", "abandoned", "counts", "code"),
    [
        # Shards 1 and 2 have done one of their two jobs; shards 3 and 4 are done, unless shard 4 is
        # abandoned.
        (BLOCKED, OK, False, (1, 0), 4),
        (BLOCKED, BLOCKED, False, (2, 0), 4),
        (BLOCKED, INTERRUPTED, False, (1, 1), 130),
        (INTERRUPTED, BLOCKED, False, (1, 1), 130),
        (BLOCKED, BOTH_STOPPED, False, (1, 1), 130),
        (BLOCKED, OUT_OF_TIME, False, (1, 1), 5),
        (INTERRUPTED, OUT_OF_TIME, False, (0, 2), 130),
        (BLOCKED, None, False, (1, 1), 5),
        (INTERRUPTED, None, False, (0, 2), 130),
        (BLOCKED, OK, True, (1, 2), 5),
        (BLOCKED, INTERRUPTED, True, (1, 3), 130),
    ],
)
def test_each_job_has_the_outcome_of_its_own_shard(
    ground: ShardGround,
    first: Ending,
    second: Ending | None,
    abandoned: bool,
    counts: tuple[int, int],
    code: int,
) -> None:
    ground.shard(1, [done(0, 10.0)], ending=first)
    ground.shard(2, [done(1, 11.0)] if second is not OK else None, ending=second)
    ground.shard(3)
    if not abandoned:
        ground.shard(4)
    result = merge([ground.main], abandon=[4] if abandoned else [], html=False)
    report = result.report
    assert report is not None
    assert (report.counts.blocked, report.counts.pending) == counts
    assert result.exit_code == code
    rows = json.loads((ground.main / "report.json").read_text())["jobs"]
    assert [row["status"] for row in rows].count("blocked") == counts[0]
    blocked = [row["error"]["code"] for row in rows if row["status"] == "blocked"]
    assert blocked == ["BUDGET_EXHAUSTED"] * counts[0]
    assert set(report.stops) <= {"*", "workflow:w"}


def test_a_seeded_image_is_not_found_again_in_the_main_journal(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path, jobs=4, count=2)
    payer, image = planned(0).identity, "asset:" + "1" * 64
    upload: list[Event] = [
        intended_event(1, payer, at=1.2),
        Created(at=1.3, asset_id="image-1", credits=Decimal(1)),
        Uploaded(at=1.4),
        BecameReady(at=1.5),
    ]
    ground.divide([(image, upload)])
    for number in (1, 2):
        ground.shard(number, first=[(image, [Found(at=5.0, asset_id="image-1")])])
    result = merge([ground.main], html=False)
    assert not any(isinstance(event, Found) for _, event in events_of(ground.main))
    assert result.report is not None
    assert (result.report.credits.uploads, result.report.notes) == (1, [])


def test_an_upload_that_a_shard_was_about_to_send_may_still_be_sent(tmp_path: Path) -> None:
    """Its process may only be frozen. One that has ended with an upload of unknown charge sends it
    no more."""
    ground = ShardGround(tmp_path, jobs=4, count=2)
    ground.divide()
    for number, ends in ((1, ()), (2, (Lost(at=5.1, nonce="n2"),))):
        payer, image = planned(number - 1).identity, f"asset:{number}" + "1" * 63
        begun = intended_event(1, payer, at=5.0, nonce=f"n{number}")
        ground.shard(number, first=[(image, [begun, *ends])])
    merge([ground.main], html=False)
    with Journal.read(ground.main) as journal:
        assert journal.sent_elsewhere() == {"n1"}


# --- while shards are outstanding


def test_a_directory_that_waits_for_shards_is_refused_until_they_are_merged(
    ground: ShardGround,
) -> None:
    with pytest.raises(ShardsOutstandingError) as caught:
        refuse_if_divided(ground.main)
    assert "1, 2, 3, 4 of 4" in caught.value.message
    assert "80 credits" in caught.value.message
    assert f"crucible-batch merge {ground.main}" in (caught.value.hint or "")
    ground.all_shards()
    merge([ground.main], html=False)
    refuse_if_divided(ground.main)
    for directory in (ground.folder(1), ground.home / "nowhere"):
        refuse_if_divided(directory)


MERGE = """
import resource, sys
from pathlib import Path
from crucible_batch import merge

main, abandoned = sys.argv[1:]
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 100, limits[1]))
result = merge([Path(main)], abandon=abandoned or (), html=False)
print(result.outputs, len(result.abandoned))
"""
"""In a process of its own, since one that has run other tests has an unknown number of open files.
"""


@pytest.mark.parametrize("are_abandoned", [False, True])
def test_many_directories_are_locked_at_once(tmp_path: Path, *, are_abandoned: bool) -> None:

    ground = ShardGround(tmp_path, jobs=60, count=60)
    ground.divide()
    if not are_abandoned:
        ground.all_shards()
    abandoned = "all" if are_abandoned else ""
    merging = start_program(MERGE, str(ground.main), abandoned, cwd=tmp_path, stdout=PIPE)
    out, _ = merging.communicate(timeout=240)
    assert (merging.returncode, out.split()) == (0, ["0", "60"] if are_abandoned else ["60", "0"])


def test_without_a_noted_budget_it_is_what_was_committed_and_set_aside(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide([done(0, 1.0)], budget=None)
    ground.shard(1, [done(4, 14.0)])
    for number in (2, 3, 4):
        ground.shard(number)
    result = merge([ground.main], html=False)
    assert result.report is not None
    assert result.report.credits.budget == 82
