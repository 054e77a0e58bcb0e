"""Runs with ``after``: at least once for each output, at whatever effect a run ends."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec import structs

from crucible_batch.core.events import Saved, Sent
from crucible_batch.core.plan import PlannedJob
from crucible_batch.errors import ExitCode
from crucible_batch.features.after.note import NotedAfter
from crucible_batch.journal import Journal
from crucible_batch.runs.output_programs import OutputPrograms, ProgramEnd
from tests.harness.object_store import URL
from tests.harness.stopped_runs import STRIDE, THREE, Killer, stop_after

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEAD = "after: [/bin/true]\n"
DONE = ProgramEnd(0, "/bin/true: exit code 0", "")
FAILED = ProgramEnd(1, "/bin/true: exit code 1", "")
Ends = Callable[[PlannedJob, Saved], ProgramEnd]


class Programs:
    """Stands for the program in all runs of a test, since time is skipped in them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended: Counter[str] = Counter()
        self.end: Ends = lambda _planned, _saved: DONE
        self.at_once = self.most_at_once = 0

    async def run(
        self,
        programs: OutputPrograms,
        _words: Sequence[str],
        _limit_s: float | None,
        planned: PlannedJob,
        saved: Saved,
    ) -> ProgramEnd:
        name = f"{planned.name}/{saved.index} g{planned.generation}"
        self.asked.append(name)
        async with programs._file(saved) as file:
            assert file.read_bytes()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await asyncio.sleep(5)
            finally:
                self.at_once -= 1
        self.ended[name] += 1
        return self.end(planned, saved)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs()

    async def run(self: OutputPrograms, *given: Any) -> ProgramEnd:
        return await found.run(self, *given)

    monkeypatch.setattr(OutputPrograms, "run", run)
    return found


def counts(result: Any) -> tuple[int, int, int]:
    after = result.report.after
    return after.done, after.failed, after.waiting


async def test_it_is_run_once_for_each_output_and_at_most_four_at_the_same_time(
    start: Any, programs: Programs
) -> None:
    async with start() as bench:
        manifest = bench.manifest('{name: a, prompt: "one {{ repeat }}", repeat: 12}', head=HEAD)
        result = await bench.run(manifest, allow_command=True)
        again = await bench.run(manifest, allow_command=True)
        await bench.agree(again)
    assert counts(result) == counts(again) == (12, 0, 0)
    assert sorted(programs.asked) == sorted(f"a-{n}/0 g0" for n in range(1, 13))
    assert programs.most_at_once == 4


async def test_a_run_that_is_killed_at_any_effect_runs_it_at_least_once(
    start: Any, tampered: Any, programs: Programs
) -> None:
    """And not again where the record was durable: never more than once after its end."""
    async with start() as bench:
        for n in itertools.count(0, 3 * STRIDE):
            programs.asked.clear()
            programs.ended.clear()
            manifest = bench.manifest(THREE, head=HEAD)
            options: dict[str, Any] = {
                "run_id": f"r{n}",
                "out_dir": bench.path / f"out-{n}",
                "allow_command": True,
            }
            killer = Killer(n)
            await killer.run(bench, tampered, manifest, **options)
            result = await bench.run(manifest, **options)
            assert counts(result) == (3, 0, 0), n
            assert set(programs.ended) == {"a/0 g0", "b/0 g0", "c/0 g0"}, n
            before = len(programs.asked)
            await bench.run(manifest, **options)
            assert len(programs.asked) == before, n
            if not killer.has_struck:
                break
        state = await bench.state()
        assert (state["audit"]["problems"], state["violations"]) == ([], [])
    assert n > 20


async def test_it_is_run_again_if_its_record_was_not_stored(
    start: Any, watcher: Any, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise RuntimeError("a bug")

    async with start() as bench:
        manifest = bench.manifest(THREE, head=HEAD)
        with monkeypatch.context() as patched:
            patched.setattr(NotedAfter, "keep", lost)
            result = await bench.run(manifest, allow_command=True)
        assert (result.exit_code, counts(result)) == (0, (0, 0, 3))
        again = await bench.run(manifest, allow_command=True)
    assert counts(again) == (3, 0, 0)
    assert set(Counter(programs.asked).values()) == {2}


async def test_a_failure_changes_nothing_of_the_run_but_a_note(
    start: Any, programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    programs.end = lambda planned, _: FAILED if planned.name == "b" else DONE
    async with start() as bench:
        manifest = bench.manifest(THREE, head=HEAD)
        result = await bench.run(manifest, allow_command=True)
        assert (result.exit_code, counts(result)) == (0, (2, 1, 0))
        assert "after b/0: /bin/true: exit code 1; the next run tries again" in caplog.text
        programs.end = lambda _planned, _saved: DONE
        again = await bench.run(manifest, allow_command=True)
    assert counts(again) == (3, 0, 0)
    assert Counter(programs.asked) == {"a/0 g0": 1, "b/0 g0": 2, "c/0 g0": 1}


async def test_an_output_without_a_readable_file_is_a_failure_with_its_reason(
    start: Any, programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    def end(planned: PlannedJob, _saved: Saved) -> ProgramEnd:
        if planned.name == "b":
            raise FileNotFoundError(2, "no such file", "b/0.png")
        return DONE

    programs.end = end
    async with start() as bench:
        result = await bench.run(bench.manifest(THREE, head=HEAD), allow_command=True)
    assert (result.exit_code, counts(result)) == (0, (2, 1, 0))
    assert "after b/0: its file can't be read: No such file or directory" in caplog.text


async def test_outputs_of_earlier_runs_follow_when_the_key_is_added(
    start: Any, programs: Programs
) -> None:
    async with start() as bench:
        first = await bench.run(bench.manifest(THREE))
        assert first.report.after is None
        result = await bench.run(bench.manifest(THREE, head=HEAD), allow_command=True)
        assert len((await bench.state())["jobs"]) == 3
    assert counts(result) == (3, 0, 0)


async def test_a_run_that_has_to_end_does_not_wait_for_it(
    start: Any, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object) -> ProgramEnd:
        await asyncio.Event().wait()
        raise AssertionError

    async with start() as bench:
        manifest = bench.manifest(THREE, head=HEAD)
        with monkeypatch.context() as patched:
            patched.setattr(OutputPrograms, "run", stuck)
            result = await bench.run(manifest, allow_command=True, deadline_s=3600)
        assert result.exit_code == ExitCode.STOPPED
        assert (result.report.counts.succeeded, counts(result)) == (3, (0, 0, 3))
        again = await bench.run(manifest, allow_command=True)
    assert (again.exit_code, counts(again)) == (0, (3, 0, 0))


async def test_it_holds_up_no_purchase_and_no_download(
    start: Any, watcher: Any, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All jobs succeed while the first program has not ended."""
    ended = asyncio.Event()
    saved = list[object]()

    async def waits(*_: object) -> ProgramEnd:
        await ended.wait()
        return DONE

    def look(message: object) -> None:
        if isinstance(getattr(message, "event", None), Saved):
            saved.append(message)
        if len(saved) == 12:
            ended.set()

    monkeypatch.setattr(OutputPrograms, "run", waits)
    async with start() as bench:
        jobs = '{name: a, prompt: "one {{ repeat }}", repeat: 12}'
        result = await bench.run(
            bench.manifest(jobs, head=HEAD), allow_command=True, observer=watcher(look)
        )
    assert counts(result) == (12, 0, 0)


async def test_other_bytes_at_the_same_index_are_another_output(
    start: Any, programs: Programs
) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(THREE, head=HEAD), allow_command=True)
    with Journal.read(result.run_dir) as journal:
        planned = next(journal.plan())
        known = journal.known(planned.identity)
        assert known is not None
        saved, noted = known[1].outputs[0], NotedAfter(journal)
        assert noted.of(planned.identity, saved) is not None
        other = structs.replace(saved, sha256="0" * 64)
        embedded = structs.replace(other, sent=Sent(saved.sha256, saved.byte_size))
        assert noted.of(planned.identity, other) is None
        assert noted.of(planned.identity, embedded) == noted.of(planned.identity, saved)


async def test_it_gets_copies_of_outputs_in_an_object_store(
    start: Any, store: Any, programs: Programs
) -> None:
    async with start() as bench:
        manifest = bench.manifest(THREE, head=HEAD)
        result = await bench.run(manifest, out_dir=URL, allow_command=True)
    assert counts(result) == (3, 0, 0)


async def test_a_kill_before_the_program_ends_leaves_its_output_to_the_next_run(
    start: Any, watcher: Any, programs: Programs
) -> None:
    async with start() as bench:
        manifest = bench.manifest(THREE, head=HEAD)
        await stop_after(bench, watcher, manifest, Saved, 2, allow_command=True)
        result = await bench.run(manifest, allow_command=True)
    assert counts(result) == (3, 0, 0)
    assert set(programs.ended) == {"a/0 g0", "b/0 g0", "c/0 g0"}
