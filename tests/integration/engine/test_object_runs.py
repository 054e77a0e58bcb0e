"""Runs with their outputs in an object store: what is where, and that a failing store costs nothing
twice.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import crucible_batch as api
from crucible_batch.cli.status import next_command
from crucible_batch.core import events
from crucible_batch.errors import ReportError, RunDirectoryError, UserError
from crucible_batch.outputs import ObjectStoreError
from crucible_batch.runs.reporting import write_report_again
from crucible_batch.runs.run_journal import local_directory
from tests.harness.features import has_feature
from tests.harness.object_fakes import DictObjects, unusable
from tests.harness.object_store import URL
from tests.harness.stopped_runs import stop_after

HAS_PAGES = True
SHORT_JOBS = True
ONE = "{name: a, prompt: a}"
TWO = "{name: a, prompt: a}\n{name: b, prompt: b}"


def pictures(store: DictObjects) -> list[str]:
    return sorted(key for key in store.content if key.endswith(".png"))


def local_pictures(bench) -> list[Path]:
    return list(bench.path.rglob("*.png"))


async def bought(bench) -> int:
    return (await bench.state())["requests"].get("generate", 0)


def failing(*requests: str, only: str = ".png", refused: bool = False):
    def fault(request: str, key: str) -> None:
        if request in requests and key.endswith(only):
            if refused:
                raise ObjectStoreError(
                    f"{key}: access is denied", hint="permit it", is_refused=True
                )
            raise unusable(key)

    return fault


async def test_outputs_and_reports_are_in_the_store_and_only_the_state_is_local(start, store):
    async with start() as bench:
        result = await bench.run(bench.manifest(TWO), out_dir=URL)
        await bench.agree(result)
        assert (result.exit_code, result.outputs_at) == (0, URL)
        assert pictures(store) == ["a/0.png", "b/0.png"]
        log = {key for key in store.content if key.startswith(".crucible/log/")}
        assert {".crucible/log/00000001.json", ".crucible/log/journal.json"} <= log
        assert sorted(set(store.content) - set(pictures(store)) - log) == [
            ".crucible/run.json", "receipts.jsonl", "report.html", "report.json",
        ]  # fmt: skip
        assert json.loads(store.content["report.json"])["counts"]["succeeded"] == 2
        page = store.content["report.html"].decode()
        assert "data:image/webp" in page
        assert str(result.run_dir) not in page  # it is of no use on another machine
        commands = [f" --out-dir {URL} --retry-failed", f" --out-dir {URL}"]
        if has_feature("stages"):
            commands.append(f"crucible-batch pick {URL}")
        for command in commands:
            assert f'{command}"' in page
        assert local_pictures(bench) == []
        assert local_directory(URL) == result.run_dir
        assert result.run_dir.is_relative_to(bench.path / "state" / "crucible-batch" / "runs")


async def test_a_second_run_buys_nothing_and_asks_the_store_for_no_output(start, store):
    async with start() as bench:
        manifest = bench.manifest(TWO)
        first = await bench.run(manifest, out_dir=URL)
        store.requests.clear()
        again = await bench.run(manifest, out_dir=URL)
        by_directory = await bench.run(manifest, out_dir=first.run_dir)
        assert (again.exit_code, by_directory.exit_code, await bought(bench)) == (0, 0, 2)
        assert by_directory.outputs_at == URL
        # The object that binds the prefix, the log, and the receipts that another machine may have
        # added to.
        assert set(store.requests) == {
            "read json", "create json", "info json", "replace json", "names crucible/log",
            "read jsonl",
        }  # fmt: skip


async def test_an_output_that_is_not_stored_is_fetched_by_the_next_run_and_not_bought_again(
    start, store
):
    async with start() as bench:
        manifest = bench.manifest(
            "\n".join(f"{{name: j{number}, prompt: p{number}}}" for number in range(12))
        )
        store.fault = failing("create")
        stopped = await bench.run(manifest, out_dir=URL, concurrency=1)
        status = api.read_status(stopped.run_dir)
        assert (status.run_dir, status.outputs_at, status.location) == (stopped.run_dir, URL, URL)
        assert f" --out-dir {URL}" in str(next_command(status))
        assert stopped.exit_code == 5
        assert [stop.code for stop in stopped.report.stops.values()] == ["OBJECT_STORE"]
        before = await bought(bench)
        assert before < 12
        rows = list(stopped.jobs())
        assert "OUTPUT_NOT_STORED" in str(rows[0].error)
        assert local_pictures(bench) == []
        store.fault = lambda _request, _key: None
        done = await bench.run(manifest, out_dir=URL)
        await bench.agree(done)
        assert (done.exit_code, len(pictures(store)), await bought(bench)) == (0, 12, 12)


async def test_a_lost_state_directory_is_restored_from_the_receipts_in_the_store(start, store):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(
            f"{TWO}\n{{name: e, prompt: edit, workflow: qwen-edit, image: a.png}}"
        )
        await bench.run(manifest, out_dir=URL)
        shutil.rmtree(bench.path / "state")
        with pytest.raises(
            RunDirectoryError, match="no journal of a run at s3://bucket/runs/trial"
        ):
            api.read_status(URL)
        before = (await bench.state())["requests"]
        store.requests.clear()
        result = await bench.run(manifest, out_dir=URL)
        after = (await bench.state())["requests"]
        assert result.exit_code == 0
        assert (after["generate"], after["asset-create"]) == (
            before["generate"],
            before["asset-create"],
        )
        assert not {"create png", "create jpg"} & store.requests.keys()  # no output was sent again


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [(failing("read", only="run.json"), 5), (failing("create", only="run.json", refused=True), 2)],
)
async def test_a_store_that_fails_at_the_start_is_reported_before_anything_is_spent(
    start, store, fault, exit_code
):
    async with start() as bench:
        store.fault = fault
        with pytest.raises(ObjectStoreError) as caught:
            await bench.run(bench.manifest(ONE), out_dir=URL)
        assert (int(caught.value.exit_code), await bought(bench)) == (exit_code, 0)


async def test_a_store_that_replaces_objects_is_refused_before_anything_is_spent(start, store):
    async with start() as bench:
        store.replaces = True
        with pytest.raises(RunDirectoryError, match="replaces existing objects"):
            await bench.run(bench.manifest(ONE), out_dir=URL)
        assert await bought(bench) == 0


async def test_a_prefix_of_another_run_is_refused_before_anything_is_spent(start, store):
    async with start() as bench:
        await bench.run(bench.manifest(ONE), out_dir=URL)
        shutil.rmtree(bench.path / "state")  # on this machine its journal would refuse first
        with pytest.raises(
            RunDirectoryError, match="belongs to another run: manifest 'trial', run_id 'default'"
        ):
            await bench.run(bench.manifest(ONE), out_dir=URL, run_id="other")
        assert await bought(bench) == 1


async def test_a_report_of_another_program_is_not_replaced_and_the_outputs_are_there(start, store):
    async with start() as bench:
        store.content["report.json"] = b"mine"
        store.foreign.add("report.json")
        manifest = bench.manifest(ONE)
        with pytest.raises(ReportError, match=r"has report\.json of another program"):
            await bench.run(manifest, out_dir=URL)
        assert (store.content["report.json"], pictures(store)) == (b"mine", ["a/0.png"])
        del store.content["report.json"]
        store.foreign.clear()
        assert write_report_again(URL).counts.succeeded == 1
        assert json.loads(store.content["report.json"])["counts"]["succeeded"] == 1
        assert await bought(bench) == 1


@pytest.mark.parametrize("by_url", [True, False])
async def test_a_saved_plan_names_the_store_and_is_followed_into_it(start, store, by_url):
    async with start() as bench:
        manifest, target = bench.manifest(TWO), bench.path / "p.json"
        if not by_url:
            await bench.run(bench.manifest(ONE), out_dir=URL)
            manifest = bench.manifest(TWO)
        await api.plan(
            manifest,
            out_dir=URL if by_url else local_directory(URL),
            save_to=target,
            settings=bench.settings,
        )
        assert json.loads(target.read_text())["options"]["run_dir"] == URL
        result = await bench.run(target, out_dir=None)
        assert (result.exit_code, result.outputs_at, pictures(store)) == (
            0,
            URL,
            ["a/0.png", "b/0.png"],
        )
        assert result.remake == f"crucible-batch plan {manifest} --out-dir {URL} -o {target}"
        assert (await bench.run(target, out_dir=URL)).exit_code == 0
        with pytest.raises(UserError, match=f"was made with: --out-dir {URL}"):
            await bench.run(target, out_dir="s3://bucket/another")
        assert await bought(bench) == 2


async def test_without_a_home_directory_a_run_in_a_store_is_refused(start, store, monkeypatch):
    async with start() as bench:
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.delenv("HOME", raising=False)
        with pytest.raises(UserError, match="needs a local directory for its journal"):
            await bench.run(bench.manifest(ONE), out_dir=URL)
        assert await bought(bench) == 0


async def test_receipts_of_another_machine_are_kept_in_the_store(start, store):
    async with start() as bench:
        result = await bench.run(bench.manifest(TWO), out_dir=URL)
        others = store.content["receipts.jsonl"]
        (result.run_dir / "receipts.jsonl").write_bytes(b"{}\n")
        (result.run_dir / "report.json").unlink()
        write_report_again(URL)
        lines = store.content["receipts.jsonl"].splitlines()
    assert lines == [b"{}", *others.splitlines()]


async def test_what_another_machine_bought_for_a_job_that_had_failed_here_counts_here(start, store):
    """One machine after another: the second tries again what failed on the first, which then goes
    on.
    """
    async with start(faults="fail=2") as bench:
        jobs = TWO + "\n{name: c, prompt: c}"
        manifest = bench.manifest(jobs, budget=4, head="retry: {attempts: 1}\n")
        first = await bench.run(manifest, out_dir=URL, only=["a", "b"])
        assert (first.report.counts.failed, first.report.credits.spent) == (2, 0)
        state, kept = bench.path / "state", bench.path / "of the first machine"
        state.rename(kept)
        second = await bench.run(manifest, out_dir=URL, only=["a", "b"], retry_failed=True)
        assert (second.exit_code, second.report.credits.spent) == (0, 4)
        shutil.rmtree(state)
        kept.rename(state)
        third = await bench.run(manifest, out_dir=URL, only=["c"])
        assert (third.exit_code, third.report.credits.spent, third.report.credits.bought) == (
            4,
            4,
            4,
        )
        assert await bought(bench) == 4


@pytest.mark.parametrize("stopped_at", [events.Held, events.Accepted])
async def test_what_another_machine_continued_counts_here_too(start, store, watcher, stopped_at):
    """The first machine was stopped with a submit in doubt, or with both jobs in flight; both fail
    afterwards."""
    async with start(faults="fail=2") as bench:
        jobs = TWO + "\n{name: c, prompt: c}"
        manifest = bench.manifest(jobs, budget=4, head="retry: {attempts: 2}\n")
        await stop_after(bench, watcher, manifest, stopped_at, 2, out_dir=URL, only=["a", "b"])
        state, kept = bench.path / "state", bench.path / "of the first machine"
        state.rename(kept)
        second = await bench.run(manifest, out_dir=URL, only=["a", "b"])
        assert (second.exit_code, second.report.credits.spent) == (0, 4)
        shutil.rmtree(state)
        kept.rename(state)
        third = await bench.run(manifest, out_dir=URL, only=["c"])
        assert (third.exit_code, third.report.credits.spent, third.report.credits.bought) == (
            4,
            4,
            4,
        )
        await bench.agree(third)


async def test_receipts_are_in_the_store_although_the_page_could_not_be_written(start, store):
    async with start() as bench:
        store.fault = failing("create", "replace", only="report.html")
        with pytest.raises(ReportError):
            await bench.run(bench.manifest(TWO), out_dir=URL)
        assert store.content["receipts.jsonl"].count(b"\n") == 4
        assert "report.html" not in store.content
