"""The order of a run's effects, which protects credits: a table for each kind of run, and for runs
that fail.

``effects.py`` has what is watched. What these tests use of ``runs/``, beside the public functions:

    ToolBox.run of features/agents/mcp_server/tools.py
        the run of a server with a spend cap
    the fixtures ``start`` and ``store`` (conftest.py)
        replace the clock of a run, and how the gateway is opened
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.core.progress import RunBegan
from crucible_batch.errors import OtherAccountError, ReportError
from crucible_batch.features.agents.mcp_server.confinement import Root
from crucible_batch.features.agents.mcp_server.tools import RunArguments, ToolBox
from crucible_batch.settings import Settings
from tests.features.together.effects import Effects, WatchedCap
from tests.harness.bench import Tampered, Watcher
from tests.harness.object_fakes import DictObjects
from tests.harness.object_store import URL

HAS_PAGES = True
SHORT_JOBS = True

OURS, RENEWED, OTHER = "moltazine_sandbox", "moltazine_renewed", "moltazine_other"
"""The key of the account, another key of it, and one of another account."""
ACCOUNTS = {OURS: Decimal(1000), OTHER: Decimal(1000)}

RESTORED = [
    "locked",
    "plan adopted",
    "account read",
    "receipts compared",
    "lost job read",
    "restored",
]
"""A run in a directory whose journal is from a backup, with a key that the directory doesn't know.
"""
KNOWN = [*RESTORED, "key remembered"]
PERIOD = ["new id in the account", "period set aside"]
BEGUN = ["run begun", "commands begin", "engine begins"]
ENDED = ["engine ends", "commands end", "run ended"]
CLEANED = ["report.json", "image deleted", "report.json", "page"]
CLOSED = ["journal closed", "lock released"]

MANIFEST = [
    *KNOWN, *BEGUN, "first submit", *ENDED, *CLEANED,
    "notice of exit code 0", *CLOSED, "metrics written",
]  # fmt: skip
FROM_LOG = [
    "locked", "stale journal set aside", "writer of the log noted", "plan adopted", "account read",
    "receipts compared", "key remembered",
]  # fmt: skip
"""As ``KNOWN``, of a run in an object store: its log has what the journal lacks."""
LOG_TAKEN = ["writer of the log noted", "log taken"]
LOG_FINISHED = ["log finished", "log summed up"]
PUBLISHED = [
    *CLEANED, "notice of exit code 0", "published", *LOG_FINISHED, *CLOSED, "metrics written",
]  # fmt: skip
IN_STORE = [
    *FROM_LOG, *LOG_TAKEN, *BEGUN, "hold in the log", "first submit", *ENDED, *LOG_FINISHED,
    *PUBLISHED,
]  # fmt: skip
IN_STORE_WITH_PERIOD = [
    *FROM_LOG[:2], "new id in the account", *FROM_LOG[2:], "period set aside", *LOG_TAKEN,
    *BEGUN, "hold in the log", "first submit", *ENDED, "period settled", *LOG_FINISHED, *PUBLISHED,
]  # fmt: skip
"""The id in the account is the one that the log has."""
WITH_PERIOD = [
    *KNOWN, *PERIOD, *BEGUN, "first submit", *ENDED, "period settled", *CLEANED,
    "notice of exit code 0", *CLOSED, "metrics written",
]  # fmt: skip
WITH_CAP = [
    *KNOWN, "cap set aside", *BEGUN, "first submit", *ENDED, *CLEANED, "cap settled", *CLOSED,
]  # fmt: skip
WITH_CAP_AND_PERIOD = [
    *KNOWN, "cap set aside", *PERIOD, *BEGUN, "first submit", *ENDED, "period settled", *CLEANED,
    "cap settled", *CLOSED,
]  # fmt: skip
NEW_DIRECTORY = [
    "consent", "locked", "plan adopted", "receipts compared", "key remembered", *BEGUN,
    "first submit", *ENDED, "report.json", "page", *CLOSED,
]  # fmt: skip
SHARD_IN_STORE = [
    "locked", "account of the plan read", "stale journal set aside", "writer of the log noted",
    "plan adopted", "account read", "receipts compared", "key remembered",
    "writer of the log noted", "log taken", *BEGUN, "hold in the log", "first submit", *ENDED,
    "log finished", "log summed up", "report.json", "page", *CLOSED, "metrics written",
]  # fmt: skip

ACCOUNT_REFUSED = [
    "locked", "plan adopted", "account read", *CLOSED, "metrics written", "notice of exit code 2",
]  # fmt: skip
PERIOD_REFUSED = [*KNOWN, "cap set aside", "cap settled", *CLOSED]
ENGINE_FAILED = [
    *KNOWN, *PERIOD, *BEGUN, "engine ends", "commands end", "period settled", *CLOSED,
    "metrics written", "notice of exit code 70",
]  # fmt: skip
REPORT_FAILED = [
    *KNOWN, *PERIOD, *BEGUN, "first submit", *ENDED, "period settled", *CLOSED, "metrics written",
    "notice of exit code 5",
]  # fmt: skip
REPORT_FAILED_WITH_CAP = [
    *KNOWN, "cap set aside", *PERIOD, *BEGUN, "first submit",
    *ENDED, "period settled", "cap settled", *CLOSED,
]  # fmt: skip

JOBS = (
    "{name: a, prompt: a}\n{name: b, prompt: b}\n"
    "{name: c, prompt: c, workflow: qwen-edit, image: c.png}"
)
CLEAN = "assets: {cleanup: on_success}\n"
NOTIFY = 'notify: [{on: [success, partial, blocked, failure], heartbeat: "env:HEART"}]\n'
A_DAY = "budget: {credits: 30, per: day, account: studio}\n"


@pytest.fixture
def effects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Effects:
    monkeypatch.setenv("HEART", "https://heart.test/beat")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "metrics").mkdir()
    return Effects(monkeypatch)


def settings(bench: Any, key: str) -> Settings:
    return Settings(key, bench.running.api_url, accounts_directory=bench.path / "accounts")


def write_manifest(bench: Any, *, per_day: bool = False) -> Path:
    bench.picture("c.png")
    head = CLEAN + NOTIFY
    manifest: Path = (
        bench.manifest(JOBS, budget=None, head=A_DAY + head)
        if per_day
        else bench.manifest(JOBS, head=head)
    )
    return manifest


async def live_in(bench: Any, manifest: Path, out: str | Path) -> Mapping[str, str]:
    """Buy two jobs in a directory, and put its journal back to where only the first was bought.

    The list of runs is deleted as well. Returns the effect of reading each job's record.
    """
    options = {"settings": settings(bench, OURS), "out_dir": out, "html": False}
    first = await bench.run(manifest, only=["a"], **options)
    state, backup = first.run_dir / ".crucible", bench.path / "backup"
    shutil.copytree(state, backup, ignore=shutil.ignore_patterns("*.sock"))
    await bench.run(manifest, only=["b"], **options)
    shutil.rmtree(state)
    shutil.move(backup, state)
    (bench.path / "state" / "crucible-batch" / "runs.json").unlink()
    jobs = {job["params"]["prompt.text"]: job["job_id"] for job in (await bench.state())["jobs"]}
    return {jobs["a"]: "account read", jobs["b"]: "lost job read"}


async def run_again(
    bench: Any, effects: Effects, manifest: Path, out: str | Path, **options: Any
) -> api.RunResult:
    """Run with another key, and with metrics."""
    options = {
        "settings": settings(bench, RENEWED),
        "metrics_textfile": bench.path / "metrics",
        **options,
    }
    transport = effects.transport(RENEWED, OURS)
    result: api.RunResult = await bench.run(manifest, out_dir=out, transport=transport, **options)
    return result


async def run_by_server(bench: Any, effects: Effects, cap: WatchedCap) -> Mapping[str, Any]:
    """Run ``m.yaml`` in ``out`` as a server with a cap does, which notifies nobody."""

    async def send(*_given: object) -> None:
        pass

    tools = ToolBox(
        Root(bench.path), settings(bench, RENEWED), cap, effects.transport(RENEWED, OURS)
    )
    return await tools.run(RunArguments(manifest="m.yaml", run_dir="out", budget="20"), send)


def assert_order(effects: Effects, expected: Sequence[str]) -> None:
    """Check the order, and that the run was listed before it could buy: between the lock and the
    period.
    """
    assert effects.without("list entry") == expected
    seen = effects.seen
    for later in {"cap settled", "period set aside", "run begun"}.intersection(seen):
        assert seen.index("locked") < seen.index("list entry") < seen.index(later)


# -- runs that end


async def test_a_manifest(start: Any, effects: Effects) -> None:
    async with start() as bench:
        manifest, out = write_manifest(bench), bench.path / "out"
        jobs = await live_in(bench, manifest, out)
        with effects.watching(jobs):
            result = await run_again(bench, effects, manifest, out)
    assert result.ok
    assert_order(effects, MANIFEST)


@pytest.mark.parametrize(("per_day", "expected"), [(False, IN_STORE), (True, IN_STORE_WITH_PERIOD)])
async def test_a_manifest_with_its_outputs_in_a_store(
    start: Any, effects: Effects, store: DictObjects, *, per_day: bool, expected: Sequence[str]
) -> None:
    """The log is taken last: what was set aside is in it, and its holds precede the submits."""
    async with start() as bench:
        manifest = write_manifest(bench, per_day=per_day)
        jobs = dict.fromkeys(await live_in(bench, manifest, URL), "account read")
        effects.watch_store(store)
        with effects.watching(jobs):
            result = await run_again(bench, effects, manifest, URL)
    assert result.ok
    assert_order(effects, expected)


async def test_a_budget_for_a_period(start: Any, effects: Effects) -> None:
    async with start() as bench:
        manifest, out = write_manifest(bench, per_day=True), bench.path / "out"
        jobs = await live_in(bench, manifest, out)
        with effects.watching(jobs):
            result = await run_again(bench, effects, manifest, out)
    assert result.ok
    assert_order(effects, WITH_PERIOD)


@pytest.mark.parametrize(("per_day", "expected"), [(False, WITH_CAP), (True, WITH_CAP_AND_PERIOD)])
async def test_a_spend_cap(
    start: Any,
    effects: Effects,
    monkeypatch: pytest.MonkeyPatch,
    *,
    per_day: bool,
    expected: Sequence[str],
) -> None:
    async with start() as bench:
        monkeypatch.chdir(bench.path)
        jobs = await live_in(bench, write_manifest(bench, per_day=per_day), bench.path / "out")
        cap = WatchedCap(Decimal(30), effects)
        with effects.watching(jobs):
            answer = await run_by_server(bench, effects, cap)
    assert answer["ok"]
    assert cap.allowance.set_aside == 0 < cap.allowance.spent
    assert_order(effects, expected)


async def test_a_new_directory(start: Any, effects: Effects) -> None:
    def consent(_summary: api.PlanSummary) -> bool:
        effects.note("consent")
        return True

    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: a}", budget=None)
        with effects.watching():
            transport = effects.transport(RENEWED, OURS)
            result = await bench.run(manifest, confirm=consent, transport=transport)
    assert result.ok
    assert_order(effects, NEW_DIRECTORY)


def buying_one_job() -> httpx.AsyncBaseTransport:
    """Return a transport that answers the second submit as the gateway does if there are no credits
    left."""
    submits = [0]

    async def tamper(
        request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        if request.url.path.endswith("/generate"):
            submits[0] += 1
            if submits[0] == 2:
                error = {"code": "INSUFFICIENT_CREDITS", "message": "not enough credits"}
                return httpx.Response(402, json={"error": error})
        return await send()

    return Tampered(tamper)


async def test_a_shard_in_a_store(
    start: Any, effects: Effects, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine continues after another one, with a stale journal and a key that the plan doesn't
    know."""
    jobs = "\n".join(f"{{name: {name}, prompt: {name}}}" for name in "abcdefghi")
    async with start() as bench:
        manifest = bench.manifest(jobs, budget="40, max_credits_per_job: 2")
        plan, ours = bench.path / "plan.json", settings(bench, OURS)
        await bench.run(manifest, settings=ours, out_dir=URL, only=["a"])
        await api.plan(manifest, save_to=plan, shards=2, out_dir=URL, settings=ours)

        async def run_on(machine: str, **options: Any) -> api.RunResult:
            monkeypatch.setenv("XDG_STATE_HOME", str(bench.path / machine))
            return await api.run(plan, shard="1/2", concurrency=1, **options)

        for machine in ("one", "two"):
            await run_on(machine, settings=ours, transport=buying_one_job())
        bought = [job["job_id"] for job in (await bench.state())["jobs"]]
        names = {bought[0]: "account of the plan read", bought[2]: "account read"}
        effects.watch_store(store)
        with effects.watching(names):
            result = await run_on(
                "one",
                settings=settings(bench, RENEWED),
                transport=effects.transport(RENEWED, OURS),
                metrics_textfile=bench.path / "metrics",
            )
    assert result.ok
    assert effects.seen == tuple(SHARD_IN_STORE)


# -- runs that fail


async def test_an_account_that_is_refused_restores_and_sets_aside_nothing(
    start: Any, effects: Effects
) -> None:
    async with start(accounts=ACCOUNTS) as bench:
        manifest, out = write_manifest(bench, per_day=True), bench.path / "out"
        jobs = await live_in(bench, manifest, out)
        with effects.watching(jobs), pytest.raises(OtherAccountError):
            await run_again(bench, effects, manifest, out, settings=settings(bench, OTHER))
    assert effects.without("list entry") == ACCOUNT_REFUSED


async def test_a_period_that_is_refused_settles_the_cap(
    start: Any, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        monkeypatch.chdir(bench.path)
        jobs = await live_in(bench, write_manifest(bench, per_day=True), bench.path / "out")
        (account,) = (bench.path / "accounts").glob("*.sqlite3")
        cap = WatchedCap(Decimal(30), effects, then=lambda: account.write_bytes(b""))
        with effects.watching(jobs):
            answer = await run_by_server(bench, effects, cap)
    assert answer["error"]["code"] == "BUDGET_ACCOUNT"
    assert cap.allowance.set_aside == 0
    assert_order(effects, PERIOD_REFUSED)


async def test_an_error_in_the_engine_settles_the_period(start: Any, effects: Effects) -> None:
    def fail(message: object) -> None:
        assert not isinstance(message, RunBegan), "a bug"

    async with start() as bench:
        manifest, out = write_manifest(bench, per_day=True), bench.path / "out"
        jobs = await live_in(bench, manifest, out)
        with effects.watching(jobs), pytest.raises(AssertionError, match="a bug"):
            await run_again(bench, effects, manifest, out, observer=Watcher(fail))
    assert_order(effects, ENGINE_FAILED)


async def test_a_report_that_cannot_be_written_is_notified_after_the_metrics(
    start: Any, effects: Effects
) -> None:
    async with start() as bench:
        manifest, out = write_manifest(bench, per_day=True), bench.path / "out"
        jobs = await live_in(bench, manifest, out)
        block_report(out)
        with effects.watching(jobs), pytest.raises(ReportError):
            await run_again(bench, effects, manifest, out)
    assert_order(effects, REPORT_FAILED)


async def test_a_report_that_cannot_be_written_settles_the_cap(
    start: Any, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        monkeypatch.chdir(bench.path)
        jobs = await live_in(bench, write_manifest(bench, per_day=True), bench.path / "out")
        block_report(bench.path / "out")
        cap = WatchedCap(Decimal(30), effects)
        with effects.watching(jobs):
            answer = await run_by_server(bench, effects, cap)
    assert answer["error"]["code"] == "REPORT"
    assert cap.allowance.set_aside == 0 < cap.allowance.spent
    assert_order(effects, REPORT_FAILED_WITH_CAP)


def block_report(directory: Path) -> None:
    """Put a directory in the place of the report."""
    (directory / "report.json").unlink()
    (directory / "report.json" / "taken").mkdir(parents=True)
