"""The journal of a run in an object store is a log there: the run may be continued on any machine,
and its budget holds over all of them. The judge is the sandbox's ledger.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.core.asset import KeepReason
from crucible_batch.core.events import Accepted
from crucible_batch.errors import ExitCode, RunBusyError, RunDirectoryError
from crucible_batch.journal import Journal
from crucible_batch.outputs import RECEIPTS_FILE, ObjectStoreError
from crucible_batch.report import REPORT_FILE
from crucible_batch.runs import cleaning, running
from crucible_batch.runs.journal_log import LoggedJournal, LogTakenError
from crucible_batch.runs.run_journal import local_directory
from tests.harness.object_fakes import DictObjects, SharedDirectory, unusable
from tests.harness.object_store import KINDS, use_kind
from tests.harness.stopped_runs import stop_after
from tests.harness.submits import (
    SubmittedKeys,
    Waiting,
    freeze_logs,
    is_poll,
    stopping_at,
)

SHORT_JOBS = True
PRICE = 2
TWENTY = '{name: t, prompt: "{{ repeat }}", repeat: 20}'
ONE_AT_A_TIME = "concurrency: 1\n"

Send = Callable[[], Awaitable[httpx.Response]]


@dataclass
class Machines:
    """Machines with a state directory each, which share an object store."""

    bench: Any
    store: DictObjects | SharedDirectory
    patch: pytest.MonkeyPatch

    @property
    def url(self) -> str:
        return str(self.store.url)

    @contextmanager
    def on(self, machine: str) -> Iterator[None]:
        with self.patch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(self.bench.path / machine))
            yield

    async def run(self, machine: str, manifest: Path, **options: Any) -> api.RunResult:
        with self.on(machine):
            result: api.RunResult = await self.bench.run(manifest, out_dir=self.url, **options)
            return result

    async def stop(
        self, machine: str, watcher: Any, manifest: Path, event: type, count: int
    ) -> None:
        """Run until an event has happened ``count`` times, and end there, as a killed process."""
        with self.on(machine):
            await stop_after(self.bench, watcher, manifest, event, count, out_dir=self.url)

    def lose(self, machine: str) -> None:
        shutil.rmtree(self.bench.path / machine)

    def journal(self, machine: str) -> Path:
        with self.on(machine):
            return local_directory(self.url)

    def entries(self) -> list[Any]:
        keys = sorted(key for key in self.store.content if key.startswith(".crucible/log/0"))
        return [json.loads(self.store.content[key]) for key in keys]

    async def keys(self) -> list[str]:
        return [job["idempotency_key"] for job in (await self.bench.state())["jobs"]]

    async def check(self, budget: int) -> None:
        """No key was charged twice, and no row of the gateway's ledger is above the budget."""
        state = await self.bench.state()
        assert set(Counter(await self.keys()).values()) == {1}
        levels = [1000 - row["balance_after"] + row["reserved_after"] for row in state["ledger"]]
        assert max(levels) <= budget


@pytest.fixture(params=KINDS)
def machines(
    request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Any], Machines]:
    store = use_kind(request.param, monkeypatch, tmp_path)
    return lambda bench: Machines(bench, store, monkeypatch)


async def killed(run: Machines, machine: str, manifest: Path, *, at: int, answered: bool) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - it is in a group
        await run.run(machine, manifest, transport=stopping_at(at, answered=answered))
    assert "Killed" in repr(raised.value)


async def test_a_hold_is_in_the_store_before_its_submit_is_sent(start: Any, machines: Any) -> None:
    async with start() as bench:
        run = machines(bench)
        keys = SubmittedKeys(lambda key: f'"{key}' in json.dumps(run.entries()).replace("\\", ""))
        result = await run.run("one", bench.manifest(TWENTY), transport=keys.transport())
        assert (result.exit_code, keys.unknown) == (0, [])
        assert len(await run.keys()) == 20


@pytest.mark.parametrize("answered", [False, True], ids=["before its answer", "after it was sent"])
async def test_a_run_whose_machine_is_lost_is_continued_elsewhere_within_its_budget(
    start: Any, machines: Any, answered: bool
) -> None:
    """The budget is not enough for all jobs, so that what is not known would be exceeded."""
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(
            TWENTY, budget="14, max_credits_per_job: 2", head="concurrency: 2\n"
        )
        await killed(run, "lost", manifest, at=4, answered=answered)
        run.lose("lost")
        before = await run.keys()
        second = await run.run("other", manifest)
        assert (second.exit_code, second.report.credits.spent) == (4, 14)
        assert set(before) <= set(await run.keys())
        assert len(await run.keys()) == 7
        run.lose("other")
        third = await run.run("third", manifest)
        assert (third.exit_code, third.report.credits.spent) == (4, 14)
        assert third.report.credits.bought == 14  # the log has more than receipts
        assert len(await run.keys()) == 7
        await bench.agree(third)
        await run.check(14)


async def test_a_run_that_is_active_is_left_alone_by_another_machine(
    start: Any, machines: Any
) -> None:
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(TWENTY, budget=14, head=ONE_AT_A_TIME)
        submits = Waiting()
        first = asyncio.ensure_future(run.run("one", manifest, transport=submits.transport()))
        await submits.reached.wait()
        with pytest.raises(RunBusyError, match="this run is running on another machine"):
            await run.run("other", manifest)
        submits.released.set()
        assert (await first).exit_code == 4
        await run.check(14)


async def test_of_two_machines_only_the_later_one_buys(
    start: Any, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(TWENTY, budget="14, max_credits_per_job: 2", head=ONE_AT_A_TIME)
        submits, awake = Waiting(3), freeze_logs(monkeypatch)
        first = asyncio.ensure_future(run.run("frozen", manifest, transport=submits.transport()))
        await submits.reached.wait()
        second = await run.run("other", manifest)
        assert (second.exit_code, second.report.credits.spent) == (4, 14)
        report = run.store.content["report.json"]
        submits.released.set()
        awake.set()
        with pytest.raises(LogTakenError, match="another process continues this run"):
            await first
        assert submits.sent == 3
        assert run.store.content["report.json"] == report
        again = await run.run("frozen", manifest)  # its journal is set aside
        assert (again.exit_code, again.report.credits.spent) == (4, 14)
        await run.check(14)


async def test_a_frozen_run_that_buys_nothing_more_learns_that_it_was_continued(
    start: Any, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest("{name: a, prompt: a}")
        polls, awake = Waiting(which=is_poll), freeze_logs(monkeypatch)
        first = asyncio.ensure_future(run.run("frozen", manifest, transport=polls.transport()))
        await polls.reached.wait()
        assert (await run.run("other", manifest)).exit_code == 0
        awake.set()
        with pytest.raises(LogTakenError):
            await first
        await run.check(100)


async def test_failed_attempts_of_another_machine_count(
    start: Any, machines: Any, watcher: Any
) -> None:
    """Receipts don't have them all, and each attempt is one of those that are permitted."""
    async with start(faults="fail=3") as bench:
        run = machines(bench)
        manifest = bench.manifest("{name: a, prompt: a}", head="retry: {attempts: 3}\n")
        await run.stop("one", watcher, manifest, Accepted, 3)
        run.lose("one")
        second = await run.run("two", manifest)
        (row,) = second.jobs()
        assert (second.exit_code, len(row.attempts)) == (1, 3)
        assert len(await run.keys()) == 3
        await bench.agree(second)


async def test_a_job_that_has_left_the_manifest_is_settled_on_another_machine(
    start: Any, machines: Any, watcher: Any
) -> None:
    """Its plan is in the log, and nowhere else. Of job c, the log has no answer."""
    budget = "8, max_credits_per_job: 2"
    a, b, c = (f"{{name: {name}, prompt: {name}}}" for name in "abc")
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(f"{a}\n{c}", budget=budget, head=ONE_AT_A_TIME)
        await run.stop("one", watcher, manifest, Accepted, 2)
        run.lose("one")
        second = await run.run("two", bench.manifest(b, budget=budget))
        credits = second.report.credits
        assert (second.exit_code, credits.spent, credits.held) == (0, 2 * PRICE, PRICE)
        assert sorted(key for key in run.store.content if key.endswith(".png")) == [
            "a/0.png", "b/0.png",
        ]  # fmt: skip
        third = await run.run("three", bench.manifest(f"{a}\n{b}\n{c}", budget=budget))
        assert (third.exit_code, third.report.credits.spent) == (0, 3 * PRICE)
        assert len(await run.keys()) == 3
        await bench.agree(third)


async def test_machines_that_take_turns_know_what_the_others_have_done(
    start: Any, machines: Any
) -> None:
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest("{name: a, prompt: a}\n{name: b, prompt: b}", budget=4)
        for machine, only in (("one", "a"), ("two", "b"), ("one", "b"), ("two", "a")):
            result = await run.run(machine, manifest, only=[only])
            assert result.exit_code == 0
        assert len(await run.keys()) == 2
        folder = run.journal("one") / ".crucible"
        assert [path.name.partition(".before-")[1] for path in folder.glob("*.before-*")] == [
            ".before-"
        ]
        with Journal.read(run.journal("one")) as one, Journal.read(run.journal("two")) as two:
            shared = list(one.numbered_events())
            assert list(two.numbered_events())[: len(shared)] == shared
            assert len(two.runs()) == 4


async def test_where_a_run_was_it_reads_only_the_end_of_its_log(start: Any, machines: Any) -> None:
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(TWENTY, head=ONE_AT_A_TIME)
        await run.run("one", manifest)
        count, read = len(run.entries()), list[str]()

        def fault(request: str, key: str) -> None:
            if request == "read" and "/log/" in key:
                read.append(key.rpartition("/")[2])

        run.store.fault = fault
        assert (await run.run("one", manifest)).exit_code == 0
        assert set(read) == {f"{number:08}.json" for number in (count, count + 1)}
        read.clear()
        assert (await run.run("two", manifest)).exit_code == 0
        assert "journal.json" in read
        assert len(await run.keys()) == 20


async def test_a_run_without_a_log_becomes_one_with_a_log(start: Any, machines: Any) -> None:
    """As a run of a release that had no logs."""
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(TWENTY)
        await run.run("one", manifest)
        for key in [key for key in run.store.content if key.startswith(".crucible/log/")]:
            del run.store.content[key]
        with Journal.open(run.journal("one"), binding_of(run, "one"), now=1.0) as journal:
            journal.note("log_writers", "")
        assert (await run.run("one", manifest)).exit_code == 0
        first = run.entries()[0]["rows"]
        assert (len(first["planned"]), len(first["runs"])) == (20, 1)
        run.lose("one")
        assert (await run.run("two", manifest)).exit_code == 0
        assert len(await run.keys()) == 20


def binding_of(run: Machines, machine: str) -> Any:
    with Journal.read(run.journal(machine)) as journal:
        return journal.binding()


async def test_a_run_whose_log_was_deleted_is_refused(start: Any, machines: Any) -> None:
    """Another machine may have continued it since."""
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(TWENTY)
        await run.run("one", manifest)
        for key in [key for key in run.store.content if key.startswith(".crucible/log/")]:
            del run.store.content[key]
        with pytest.raises(RunDirectoryError, match="has no log of this run") as caught:
            await run.run("one", manifest)
        assert f"crucible-batch check {run.url} --fix" in (caught.value.hint or "")
        (run.journal("one") / ".crucible").rename(bench.path / "away")
        assert (await run.run("one", manifest)).exit_code == 0  # by the receipts
        assert len(await run.keys()) == 20


async def test_a_store_that_fails_before_a_purchase_prevents_it(start: Any, machines: Any) -> None:
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest(TWENTY)

        def fault(request: str, key: str) -> None:
            if request == "create" and key.endswith("log/00000002.json"):
                raise unusable(key)

        run.store.fault = fault
        result = await run.run("one", manifest)
        assert (result.exit_code, await run.keys()) == (5, [])
        run.store.fault = lambda _request, _key: None
        assert (await run.run("one", manifest)).exit_code == 0
        await run.check(100)


async def test_a_log_that_cannot_be_taken_prevents_all_purchases(start: Any, machines: Any) -> None:
    async with start() as bench:
        run = machines(bench)

        def fault(request: str, key: str) -> None:
            if request == "create" and key.endswith("log/00000001.json"):
                raise unusable(key)

        run.store.fault = fault
        with pytest.raises(ObjectStoreError):
            await run.run("one", bench.manifest(TWENTY))
        assert await run.keys() == []


async def test_a_store_that_fails_at_the_end_costs_nothing_twice(
    start: Any, machines: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The report is written, and the next run adds what the log lacks."""
    async with start() as bench:
        run = machines(bench)
        manifest = bench.manifest("{name: a, prompt: a}")
        ended = asyncio.Event()

        def fault(request: str, key: str) -> None:
            if ended.is_set() and request == "create" and "/log/" in key:
                raise unusable(key)

        run.store.fault = fault
        finish = LoggedJournal.finish

        async def failing(log: LoggedJournal) -> None:
            ended.set()
            await finish(log)

        with run.patch.context() as patch:
            patch.setattr(LoggedJournal, "finish", failing)
            first = await run.run("one", manifest)
        assert (first.exit_code, first.report.counts.succeeded) == (0, 1)
        assert "the log of this run lacks its end" in caplog.text
        run.store.fault = lambda _request, _key: None
        assert (await run.run("one", manifest)).exit_code == 0
        assert run.entries()[-1]["figures"]["exit_code"] == 0
        run.lose("one")
        assert (await run.run("two", manifest)).exit_code == 0
        assert len(await run.keys()) == 1


async def test_a_run_that_has_ended_does_not_fail_if_another_machine_continues_it(
    start: Any, machines: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its rebates are in the log."""
    async with start() as bench:
        run = machines(bench)
        bench.picture("a.png")
        manifest = bench.manifest(
            "{name: e, prompt: edit, workflow: qwen-edit, image: a.png}",
            head="assets: {cleanup: on_success}\n",
        )
        publish = running.publish_report

        async def beside(journal: Journal, store: Any) -> None:
            run.patch.setattr(running, "publish_report", publish)
            assert (await run.run("two", manifest)).exit_code == 0
            await publish(journal, store)

        run.patch.setattr(running, "publish_report", beside)
        assert (await run.run("one", manifest)).exit_code == 0
        assert "the log of this run lacks its rebates" in caplog.text
        assert len(await run.keys()) == 1


@pytest.mark.parametrize("place", [RECEIPTS_FILE, REPORT_FILE])
@pytest.mark.parametrize("request_of_one", ["info", "create"])
async def test_a_late_report_does_not_replace_that_of_the_machine_which_continued(
    start: Any, machines: Any, caplog: pytest.LogCaptureFixture, request_of_one: str, place: str
) -> None:
    """One's requests are slow: two begins and ends before it looks at a place, or before it writes
    there."""
    async with start() as bench:
        run = machines(bench)
        jobs = '{name: t, prompt: "{{ repeat }}", repeat: 3}'
        manifest = bench.manifest(jobs, budget="4, max_credits_per_job: 2", head=ONE_AT_A_TIME)
        send = getattr(run.store, request_of_one)

        async def late(key: str, *more: Any) -> Any:
            if key == place:
                run.patch.setattr(run.store, request_of_one, send)
                assert (await run.run("two", manifest, budget=Decimal(12))).exit_code == 0
            return await send(key, *more)

        run.patch.setattr(run.store, request_of_one, late)
        assert (await run.run("one", manifest)).exit_code == ExitCode.OUT_OF_CREDITS
        assert json.loads(run.store.content[REPORT_FILE])["counts"]["succeeded"] == 3
        receipts = map(json.loads, run.store.content[RECEIPTS_FILE].splitlines())
        assert len({receipt["identity"] for receipt in receipts}) == 3
        assert "another machine has continued the run" in caplog.text
        assert run.journal("one").joinpath(REPORT_FILE).is_file()


async def test_a_run_shows_its_figures_and_its_end(start: Any, machines: Any) -> None:
    async with start() as bench:
        run = machines(bench)
        await run.run("one", bench.manifest(TWENTY))
        figures = [entry["figures"] for entry in run.entries()]
        assert figures[-1]["counts"] == {"succeeded": 20}
        assert (figures[-1]["exit_code"], Decimal(figures[-1]["spent"])) == (0, 20 * PRICE)
        assert all(each is None or each["exit_code"] is None for each in figures[:-1])


async def test_a_run_in_a_directory_has_no_log(start: Any) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(TWENTY))
        assert result.exit_code == 0
        names = {path.name for path in (result.run_dir / ".crucible").iterdir()}
        assert "log" not in names
        with Journal.read(result.run_dir) as journal:
            assert journal.noted("log_writers") is None


async def test_an_older_copy_deletes_no_image_that_a_job_of_another_machine_needs(
    start: Any, machines: Any
) -> None:
    async with start() as bench:
        run = machines(bench)
        image = bench.picture("a.png")
        manifest = bench.manifest(f"{{name: e, prompt: one, workflow: qwen-edit, image: {image}}}")
        await run.run("one", manifest)
        manifest.write_text(manifest.read_text().replace("prompt: one", "prompt: two"))
        await killed(run, "two", manifest, at=1, answered=True)
        run.patch.setattr(cleaning, "SystemClock", lambda: bench.clock)
        with run.on("one"):
            found = await api.delete_assets(run.url, settings=bench.settings)
        assert [(fate.filename, fate.stays) for fate in found.fates] == [
            ("a.png", KeepReason.NEEDED)
        ]
        assert (await run.run("two", manifest)).exit_code == 0
        assert len(await run.keys()) == 2
        assert len((await bench.state())["assets"]) == 1


async def test_a_picture_that_the_log_does_not_know_is_in_nobodys_way(
    start: Any, machines: Callable[[Any], Machines]
) -> None:
    """A machine is lost after a picture is in the store, and before the log has its events; then
    the prompt is changed.
    """
    async with start() as bench:
        run = machines(bench)
        kept: dict[str, bytes] = {}
        create = run.store.create

        async def creating(key: str, content: bytes) -> bool:
            is_created = await create(key, content)
            if key == "hero/0.png":
                kept.update(run.store.content)
            return is_created

        terms = "50, max_credits_per_job: 2"
        with run.patch.context() as patch:
            patch.setattr(run.store, "create", creating)
            await run.run("one", bench.manifest("{name: hero, prompt: heron}", budget=terms))
        for key in set(run.store.content) - set(kept):
            del run.store.content[key]
        run.store.content.update(kept)
        run.lose("one")
        other = bench.manifest("{name: hero, prompt: stork}", budget=terms)
        for machine in ("two", "two", "three"):
            result = await run.run(machine, other)
            ((output,),) = (job.outputs for job in result.jobs())
            assert result.ok
            assert output.path.name == f"0.{output.sha256[:8]}.png"
        assert run.store.content["hero/0.png"] == kept["hero/0.png"]
        assert len(await run.keys()) == 2
