"""After a probe, the shards of a plan upload no image and buy nothing at an unknown price."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.events import Created, Held, Intended
from crucible_batch.core.prices import PriceBook, Shape
from crucible_batch.core.sharding import ShardId
from crucible_batch.errors import RunBusyError, RunDirectoryError, UserError
from crucible_batch.features.registry import plan_kind_of
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.probing import probe
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.runs.paths import shard_directory
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.saved_plan import read_saved_plan
from tests.features.shards.test_probe_runs import edits, pictures, uploaded
from tests.harness.bench import delete_images
from tests.harness.replacing import replace

MANY = (
    "{name: t, prompt: text, repeat: 7}\n"
    "{name: big, prompt: text, params: {size.width: 128}, repeat: 5}"
)


def manifest_of(bench: Any, jobs: str, *, budget: object, head: str = "") -> Path:
    """Write a manifest with the maxima that a divided plan needs: the prices of the sandbox."""
    cap = f"budget: {{credits: {budget}, max_credits_per_job: 3, max_credits_per_upload: 0.5}}\n"
    path: Path = bench.manifest(jobs, budget=None, head=head if budget is None else f"{cap}{head}")
    return path


async def divided(
    bench: Any, manifest: Path, shards: int, *, target: Path | None = None
) -> api.PlanSummary:
    """Do as ``plan --shards N --probe -o`` does."""
    request = RunRequest(manifest, out_dir=bench.path / "out", features=(DivisionOptions(shards),))
    save_to = target or bench.path / "plan.json"
    async with asyncio.timeout(120):
        probed = await probe(request, save_to, settings=bench.settings)
        assert probed is None or probed.may_divide
        return await plan_request(request, plan_kind_of, save_to, settings=bench.settings)


async def run_shards(bench: Any, shards: int) -> list[api.RunResult]:
    """Run all shards at once, as machines of their own would."""
    plan, settings = bench.path / "plan.json", bench.settings
    runs = [
        api.run(plan, shard=f"{number}/{shards}", settings=settings)
        for number in range(1, shards + 1)
    ]
    async with asyncio.timeout(120):
        return await asyncio.gather(*runs)


def purchases(result: api.RunResult) -> tuple[Counter[str], set[Shape], set[Shape]]:
    """Return the events of a shard by kind, the shapes that it bought, and those whose price it
    knew beforehand."""
    with Journal.read(result.run_dir) as journal:
        events = [event for _, event in journal.events()]
        book = PriceBook.of(journal.runs()[0].terms)
    bought = {Shape(event.price_class, event.shape) for event in events if isinstance(event, Held)}
    return (
        Counter(type(event).__name__ for event in events),
        bought,
        {shape for shape in bought if book.seen(shape)},
    )


async def check(bench: Any, results: list[api.RunResult], budget: Decimal) -> None:
    for result in results:
        kinds, bought, known = purchases(result)
        assert kinds[Intended.__name__] == kinds[Created.__name__] == 0
        assert bought == known
    state = await bench.state()
    assert state["audit"]["problems"] == []
    assert (
        max(1000 - row["balance_after"] + row["reserved_after"] for row in state["ledger"])
        <= budget
    )
    keys = Counter(job["idempotency_key"] for job in state["jobs"])
    assert set(keys.values()) <= {1}


@pytest.mark.parametrize(
    ("jobs", "images", "budget", "shards"),
    [
        (f"{edits(12, 5)}\n{MANY}", 5, "120", 4),
        (edits(9, 9), 9, "31.5", 2),
        (f"{MANY}\n{edits(6, 1)}", 1, "200", 5),
    ],
    ids=["images that shards share", "an image for each job", "one image"],
)
async def test_after_a_probe_no_shard_uploads_an_image_or_buys_at_an_unknown_price(
    start, jobs, images, budget, shards
):
    async with start() as bench:
        pictures(bench, images)
        summary = await divided(bench, manifest_of(bench, jobs, budget=budget), shards)
        results = await run_shards(bench, shards)
        await check(bench, results, Decimal(budget))
        assert await uploaded(bench) == images
    assert sum(shard.admitted for shard in summary.shards) == sum(
        shard.jobs for shard in summary.shards
    )
    assert {result.exit_code for result in results} == {0}


async def test_a_shard_that_is_abandoned_while_its_gateway_is_awaited_buys_nothing(start, tampered):
    abandoned: list[api.MergeResult] = []

    async def abandon(_request: object, send: Any) -> Any:
        if not abandoned:
            abandoned.append(
                await asyncio.to_thread(api.merge, [bench.path / "out"], abandon="all")
            )
        return await send()

    async with start() as bench:
        await divided(bench, manifest_of(bench, "{name: t, prompt: text, repeat: 4}", budget=40), 2)
        before = len((await bench.state())["jobs"])
        with pytest.raises(RunDirectoryError, match="are merged"):
            await api.run(
                bench.path / "plan.json",
                shard="1/2",
                settings=bench.settings,
                transport=tampered(abandon),
            )
        assert abandoned[0].abandoned == (1, 2)
        assert len((await bench.state())["jobs"]) == before


async def test_a_shard_whose_directory_is_taken_while_its_gateway_is_awaited_buys_nothing(
    start, tampered
):
    async def take(_request: object, send: Any) -> Any:
        if not is_held:
            is_held.append(stack.enter_context(lock_run_directory(directory)))
        return await send()

    is_held: list[object] = []
    async with start() as bench:
        await divided(bench, manifest_of(bench, "{name: t, prompt: text, repeat: 4}", budget=40), 2)
        before = len((await bench.state())["jobs"])
        directory = shard_directory(read_saved_plan(bench.path / "plan.json"), ShardId(1, 2))
        with ExitStack() as stack, pytest.raises(RunBusyError, match="another run holds"):
            await api.run(
                bench.path / "plan.json",
                shard="1/2",
                settings=bench.settings,
                transport=tampered(take),
            )
        assert len((await bench.state())["jobs"]) == before


async def test_a_shard_with_a_key_of_another_account_is_refused(start):
    async with start(
        accounts={"moltazine_sandbox": Decimal(50), "moltazine_other": Decimal(50)}
    ) as bench:
        await divided(bench, manifest_of(bench, "{name: t, prompt: text, repeat: 4}", budget=40), 2)
        before = len((await bench.state())["jobs"])
        stranger = replace(bench.settings, api_key="moltazine_other")
        with pytest.raises(RunDirectoryError, match="divided in another account"):
            await api.run(bench.path / "plan.json", shard="1/2", settings=stranger)
        assert len((await bench.state())["jobs"]) == before


async def test_a_shard_that_has_uploaded_an_image_keeps_it_for_the_others(start):
    """Which of them need it is not known on its machine.

    ``assets.cleanup`` applies to the merged run.
    """
    async with start() as bench:
        pictures(bench, 1)
        manifest = manifest_of(
            bench, edits(4, 1), budget=60, head="assets: {cleanup: on_success}\n"
        )
        await divided(bench, manifest, 2)
        await delete_images(bench)
        result = await api.run(bench.path / "plan.json", shard="1/2", settings=bench.settings)
        assert result.exit_code == 0
        assert purchases(result)[0][Created.__name__] == 1
        assert await uploaded(bench) == 1


async def test_without_a_probe_the_same_plan_is_refused(start):
    async with start() as bench:
        pictures(bench, 2)
        request = RunRequest(
            manifest_of(bench, edits(4, 2), budget=30),
            out_dir=bench.path / "out",
            features=(DivisionOptions(2),),
        )
        with pytest.raises(UserError, match="a shard doesn't upload images"):
            await plan_request(
                request, plan_kind_of, bench.path / "plan.json", settings=bench.settings
            )
        assert (await bench.state())["jobs"] == []


async def test_a_probe_of_a_divided_plan_spends_nothing_and_the_plan_stays_the_same(start):
    async with start() as bench:
        pictures(bench, 2)
        manifest = manifest_of(bench, edits(6, 2), budget=40)
        first = await divided(bench, manifest, 2)
        content = (bench.path / "plan.json").read_bytes()
        before = await bench.state()
        again = await divided(bench, manifest, 2)
        after = await bench.state()
    assert again.digest == first.digest
    assert (bench.path / "plan.json").read_bytes() == content
    assert len(after["ledger"]) == len(before["ledger"])


@pytest.mark.parametrize("wrong", ["no shards", "no file", "no budget", "another file"])
async def test_nothing_is_bought_where_the_plan_could_not_be_made(start, wrong):
    async with start() as bench:
        pictures(bench, 2)
        manifest = manifest_of(bench, edits(4, 2), budget=None if wrong == "no budget" else 30)
        request = RunRequest(
            manifest,
            out_dir=bench.path / "out",
            features=(DivisionOptions(None if wrong == "no shards" else 2),),
        )
        save_to = (
            None
            if wrong == "no file"
            else bench.path / ("m.yaml" if wrong == "another file" else "plan.json")
        )
        with pytest.raises(UserError):
            await probe(request, save_to, settings=bench.settings)
        state = await bench.state()
    assert (state["jobs"], state["assets"]) == ([], [])
    assert not (bench.path / "out").exists()
