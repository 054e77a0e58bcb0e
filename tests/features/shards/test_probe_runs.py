"""Before a plan is divided: each price is learned, each image uploaded once, and no job submitted
for its image.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from crucible_batch.core.asset import AssetPhase
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook, Shape, shape_of
from crucible_batch.core.progress import AssetAdvanced
from crucible_batch.features.shards.divided_plan import is_untouched
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.probing import ProbeResult, probe
from crucible_batch.features.shards.shard_division import Divider
from crucible_batch.journal import Journal
from crucible_batch.runs.request import RunRequest
from tests.harness.slow_cases import quick_every
from tests.harness.stopped_runs import Killer

# A connection that is cancelled while it is made is left to the garbage collector, by httpx's own
# doing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHAPES = (
    "{name: t, prompt: text, repeat: 3}\n"
    "{name: big, prompt: text, params: {size.width: 128}, repeat: 2}"
)


def edits(count: int, images: int, *, start: int = 0) -> str:
    return "\n".join(
        f"{{name: e{n}, prompt: 'edit {n}', workflow: qwen-edit, image: {n % images}.png}}"
        for n in range(start, start + count)
    )


def pictures(bench: Any, count: int) -> None:
    for number in range(count):
        bench.picture(f"{number}.png", (number, 50, 50))


async def probed(bench: Any, manifest: Path, **options: Any) -> ProbeResult:
    out = options.pop("out_dir", bench.path / "out")
    request = RunRequest(
        manifest,
        out_dir=out,
        concurrency=options.pop("concurrency", 8),
        features=(DivisionOptions(4),),
    )
    await bench.clock.sleep(1)
    async with asyncio.timeout(60):
        found = await probe(request, bench.path / "plan.json", settings=bench.settings, **options)
    assert found is not None
    return found


def capped(bench: Any, jobs: str, budget: object, *, upload: object = "0.5") -> Path:
    """Write a manifest with the maximum prices that a division needs."""
    maxima = f"max_credits_per_job: 3, max_credits_per_upload: {upload}"
    return bench.manifest(jobs, budget=None, head=f"budget: {{credits: {budget}, {maxima}}}\n")


class Left:
    """What a run directory has for its shards: new jobs, their missing images, and prices."""

    def __init__(self, bench: Any, out: Path | None = None) -> None:
        with Journal.read(out or bench.path / "out") as journal:
            terms = journal.runs()[-1].terms
            self.ledger = Ledger(PriceBook.of(terms))
            for subject, event in journal.events():
                self.ledger.apply(subject, event)
            jobs = list(journal.jobs(terms.rule))
            self.new = [planned for planned, job in jobs if is_untouched(job)]
            digests = {digest for planned in self.new for digest in planned.digests}
            self.phases = {digest: journal.asset(digest).phase for digest in digests}
            self.left = (terms.budget or Decimal(0)) - self.ledger.committed

    @property
    def missing(self) -> set[str]:
        """The missing images of the jobs that are admitted now."""
        gone = [
            {digest for digest in planned.digests if self.phases[digest] != AssetPhase.READY}
            for planned in self.new
        ]
        divider = Divider(self.ledger.prices, shards=4, left=self.left)
        for planned, missing in zip(self.new, gone, strict=True):
            divider.add(shape_of(planned), missing)
        admitted = divider.divide().is_admitted
        return {
            digest
            for each, is_admitted in zip(gone, admitted, strict=True)
            if is_admitted
            for digest in each
        }

    @property
    def unpriced(self) -> set[Shape]:
        return {
            shape for shape in map(shape_of, self.new) if self.ledger.prices.seen(shape) is None
        }


def check(bench: Any) -> Left:
    """The property that matters: what is left can be run by shards that upload nothing and know
    each price.
    """
    left = Left(bench)
    assert left.missing == set()
    assert left.unpriced == set()
    assert left.ledger.held == 0
    return left


async def test_one_job_of_each_shape_is_bought_and_no_other(start):
    async with start() as bench:
        found = await probed(bench, capped(bench, SHAPES, 50))
        state = await bench.agree(found.run)
        left = check(bench)
    assert (found.may_divide, found.run.exit_code) == (True, 0)
    assert [row.name for row in found.run.jobs() if row.status == "succeeded"] == ["t-1", "big-1"]
    assert (len(state["jobs"]), len(left.new)) == (2, 3)


async def test_each_image_of_the_admitted_jobs_is_uploaded_once_and_no_job_is_submitted_for_it(
    start,
):
    async with start() as bench:
        pictures(bench, 4)
        found = await probed(bench, capped(bench, edits(12, 4), 60))
        state = await bench.agree(found.run)
        left = check(bench)
    assert (found.may_divide, found.run.exit_code) == (True, 0)
    assert list(state["uploads"].values()) == [1] * 4
    assert (len(state["jobs"]), len(left.new)) == (1, 11)
    assert found.run.report.credits.spent == 3 + 4 * Decimal("0.5")


async def test_a_second_probe_buys_nothing(start):
    async with start() as bench:
        pictures(bench, 3)
        manifest = capped(bench, f"{edits(5, 3)}\n{SHAPES}", 80)
        first = await probed(bench, manifest)
        again = await probed(bench, manifest)
        await bench.agree(again.run)
        check(bench)
    assert again.may_divide
    assert again.run.report.credits.spent == first.run.report.credits.spent


async def test_the_jobs_are_bought_afterwards_as_if_nothing_had_been(start, tally):
    async with start() as bench:
        pictures(bench, 3)
        manifest = capped(bench, edits(6, 3), "19.5")
        await probed(bench, manifest)
        result = await bench.run(manifest)
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 6})
    assert result.report.credits.spent == Decimal("19.5")
    assert list(state["uploads"].values()) == [1] * 3
    assert [len(row.attempts) for row in rows] == [1] * 6


async def test_images_of_jobs_that_do_not_fit_the_budget_are_not_uploaded(start):
    """Three jobs with an image each fit: one is bought, and two are prepared."""
    async with start() as bench:
        pictures(bench, 5)
        found = await probed(bench, capped(bench, edits(5, 5), "10.5"))
        state = await bench.agree(found.run)
        left = check(bench)
    assert found.may_divide
    assert len(state["uploads"]) == 3
    assert left.left == 6  # two jobs


async def test_an_image_that_is_at_the_gateway_is_not_uploaded_and_holds_nothing(start):
    async with start() as bench:
        pictures(bench, 2)
        other = bench.manifest(edits(2, 2), budget=20)
        await bench.run(other, run_id="other", out_dir=bench.path / "other")
        found = await probed(bench, capped(bench, edits(4, 2), 20))
        state = await bench.state()
        with Journal.read(bench.path / "out") as journal:
            subjects = Counter(type(event).__name__ for _, event in journal.events())
    assert found.may_divide
    assert len(state["assets"]) == 2
    assert subjects["Held"] == 1  # the job that is bought
    assert found.run.report.credits.spent == 3


async def test_the_next_job_of_a_shape_takes_the_place_of_one_that_is_refused(start, tampered):
    refused = 0

    async def refuse_two(request: httpx.Request, send: Callable[[], Any]) -> httpx.Response:
        nonlocal refused
        if request.url.path.endswith("/generate") and refused < 2:
            refused += 1
            return httpx.Response(
                400, json={"success": False, "code": "BAD_REQUEST", "error": "no"}
            )
        return await send()

    async with start() as bench:
        manifest = capped(bench, "{name: t, prompt: text, repeat: 6}", 50)
        found = await probed(bench, manifest, transport=tampered(refuse_two))
        await bench.agree(found.run)
        left = check(bench)
    assert (found.may_divide, found.run.exit_code) == (True, 1)
    assert len(left.new) == 3


async def test_a_shape_of_which_every_job_is_refused_ends_the_probe(start, tampered):
    sent = 0

    async def refuse(request: httpx.Request, send: Callable[[], Any]) -> httpx.Response:
        nonlocal sent
        if request.url.path.endswith("/generate"):
            sent += 1
            return httpx.Response(
                400, json={"success": False, "code": "BAD_REQUEST", "error": "no"}
            )
        return await send()

    async with start() as bench:
        pictures(bench, 1)
        jobs = "{name: t, prompt: text, repeat: 9}"
        found = await probed(bench, capped(bench, jobs, 50), transport=tampered(refuse))
        await bench.agree(found.run)
    assert (found.may_divide, found.run.exit_code, sent) == (False, 1, 5)


@pytest.mark.parametrize(
    "fault", ["drop-after=1", "500-after=1", "html=1", "drop-before=1", "slow=1", "429=2"]
)
async def test_a_lost_answer_to_an_upload_loses_no_credits_and_buys_no_image_twice(start, fault):
    async with start() as bench:
        pictures(bench, 4)
        manifest = capped(bench, f"{{name: t, prompt: text}}\n{edits(8, 4)}", 90)
        await bench.run(manifest, only=["e0"])  # the price of an upload is known
        await bench.configure(faults=f"asset-create.{fault}")
        found = await probed(bench, manifest)
        state = await bench.state()
        left = check_with_lost(bench)
    spent = state["audit"]["spent_on_jobs"] + state["audit"]["spent_on_uploads"]
    assert found.may_divide
    assert spent <= found.run.report.credits.spent + found.run.report.credits.held
    assert state["audit"]["problems"] == []
    assert len([asset for asset in state["assets"] if asset["deleted_at"] is None]) == 4
    assert len(left.new) == 7


def check_with_lost(bench: Any, out: Path | None = None) -> Left:
    """As ``check``; an upload whose answer was lost stays held at what it may have cost."""
    left = Left(bench, out)
    assert (left.missing, left.unpriced) == (set(), set())
    assert left.ledger.held == left.ledger.held_for_uploads
    return left


@pytest.mark.parametrize("price", ["0.5", "20"])
async def test_the_budget_is_kept_at_every_row_of_the_ledger(start, price):
    """Uploads at once, on a budget for some: what is charged and reserved never exceeds it."""
    budget = Decimal(60)
    async with start(upload_price=Decimal(price)) as bench:
        pictures(bench, 8)
        found = await probed(
            bench, capped(bench, edits(16, 8), budget, upload=price), concurrency=8
        )
        await bench.agree(found.run)
        check(bench)
        rows = (await bench.state())["ledger"]
    assert found.may_divide
    assert max(1000 - row["balance_after"] + row["reserved_after"] for row in rows) <= budget


async def test_an_interrupt_leaves_no_hold_and_the_same_probe_continues(start, tampered, watcher):
    """The second signal comes while images are being uploaded."""
    async with start(ready_after_s=1.0) as bench:
        pictures(bench, 6)
        manifest = capped(bench, edits(12, 6), 90)
        uploads = 0

        def stop(message: object) -> None:
            nonlocal uploads
            if isinstance(message, AssetAdvanced):
                uploads += 1
                if uploads == 9:
                    signal.raise_signal(signal.SIGINT)
                    signal.raise_signal(signal.SIGINT)

        found = await probed(bench, manifest, observer=watcher(stop), handle_signals=True)
        assert (found.may_divide, found.run.exit_code) == (False, 130)
        assert found.run.report.credits.held <= 16  # of the uploads that were interrupted
        again = await probed(bench, manifest)
        state = await bench.state()
        check_with_lost(bench)
    assert again.may_divide
    assert len(state["jobs"]) == 1


def trial(bench: Any, number: int) -> Path:
    """Write a manifest of seven jobs with three images that the gateway has never seen."""
    for image in range(3):
        bench.picture(f"{image}.png", (number % 256, number // 256, image))
    jobs = edits(6, 3).replace("edit ", f"{number} edit ")
    return capped(bench, f"{{name: t, prompt: 'text {number}', repeat: 2}}\n{jobs}", 400)


async def killed(bench: Any, tampered: Any, manifest: Path, killer: Killer, out: Path) -> bool:
    """Probe until it ends or is killed, and return whether it was killed."""
    options = {
        "transport": tampered(killer.tamper),
        "observer": killer,
        "concurrency": 3,
        "out_dir": out,
    }
    task = killer.task = asyncio.ensure_future(probed(bench, manifest, **options))
    try:
        assert (await task).may_divide
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("offset", quick_every(16, range(16)))
async def test_killed_at_any_effect_the_same_probe_ends_with_each_image_uploaded_once(
    start, tampered, offset
):
    async with start() as bench:
        at, is_killed = offset, True
        while is_killed:
            manifest, out = trial(bench, at), bench.path / f"out{at}"
            before = len((await bench.state())["jobs"]), await uploaded(bench), await taken(bench)
            is_killed = await killed(bench, tampered, manifest, Killer(at), out)
            assert (await probed(bench, manifest, out_dir=out)).may_divide
            left = check_with_lost(bench, out)
            state = await bench.state()
            assert len(state["jobs"]) - before[0] == 2  # one of each workflow
            assert await uploaded(bench) - before[1] == 3
            assert await taken(bench) - before[2] <= left.ledger.committed <= 400
            at += 16
        assert state["audit"]["problems"] == []
        assert state["violations"] == []
    assert at > 80


async def uploaded(bench: Any) -> int:
    return sum(asset["deleted_at"] is None for asset in (await bench.state())["assets"])


async def taken(bench: Any) -> Decimal:
    audit = (await bench.state())["audit"]
    return Decimal(audit["spent_on_jobs"] + audit["spent_on_uploads"] + audit["reserved"])
