"""The journal is lost and the receipts were edited: none of their lines frees a credit that the
gateway has taken.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.identity import idempotency_key
from crucible_batch.errors import ExitCode, OtherAccountError
from crucible_batch.sandbox import parse_pricing

SHORT_JOBS = True

Line = dict[str, Any]
PRICE = Decimal(2)


def texts(count: int) -> str:
    return "\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(count))


def receipts(bench) -> Path:
    return bench.path / "out" / "receipts.jsonl"


def edit(bench, change: Callable[[list[Line]], list[Line]]) -> None:
    """Lose the journal, and change what the receipts say."""
    shutil.rmtree(bench.path / "out" / ".crucible")
    lines = [json.loads(line) for line in receipts(bench).read_text().splitlines()]
    receipts(bench).write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


def of_all(**fields: object) -> Callable[[list[Line]], list[Line]]:
    return lambda lines: [{**line, **fields} for line in lines]


def jobs_of(lines: list[Line]) -> dict[str, str]:
    return {line["identity"]: line["job_id"] for line in lines}


def one_id_for_all(lines: list[Line]) -> list[Line]:
    return [{**line, "job_id": lines[0]["job_id"], "credits": "0"} for line in lines]


def nobodys_ids_but_for_one(lines: list[Line]) -> list[Line]:
    first = lines[0]["identity"]
    return [
        line
        if line["identity"] == first
        else {**line, "job_id": f"none-{line['identity'][:8]}", "credits": "0"}
        for line in lines
    ]


def a_later_attempt(lines: list[Line]) -> list[Line]:
    """Each job is said to have a second attempt that cost nothing."""
    later = [
        {
            **line,
            "attempt": 2,
            "key": idempotency_key(line["identity"], 2),
            "job_id": f"later-{place}",
            "credits": "0",
        }
        for place, line in enumerate(lines)
    ]
    return [*lines, *later]


def lines_again(lines: list[Line]) -> list[Line]:
    return [*lines, *({**line, "credits": "0"} for line in lines), *lines]


@pytest.mark.parametrize(
    "change",
    [
        of_all(credits="-500"),
        of_all(credits="0"),
        of_all(credits="1"),
        of_all(credits="NaN"),
        of_all(credits="1E+999999"),
        one_id_for_all,
        nobodys_ids_but_for_one,
        a_later_attempt,
        lines_again,
    ],
    ids=[
        "negative",
        "nothing",
        "less",
        "NaN",
        "huge",
        "one id",
        "nobody's ids",
        "a later attempt",
        "lines again",
    ],
)
@pytest.mark.parametrize("keeps", ["outputs", "nothing but receipts"])
async def test_receipts_free_no_credits_for_new_purchases(start, change, keeps):
    """Five jobs at 2 have taken all of a budget of 10, and the manifest has grown by three."""
    async with start() as bench:
        await bench.run(bench.manifest(texts(5), budget=10))
        edit(bench, change)
        if keeps != "outputs":
            for number in range(5):
                shutil.rmtree(bench.path / "out" / f"j{number}")
        result = await bench.run(bench.manifest(texts(8), budget=10))
        state = await bench.state()
    assert len(state["jobs"]) == 5
    assert result.exit_code in {ExitCode.OUT_OF_CREDITS, ExitCode.SOME_FAILED}
    assert result.report.credits.spent + result.report.credits.held == 10
    assert result.report.credits.over_budget == 0


async def test_a_receipt_of_a_job_of_another_workflow_proves_nothing_so_its_key_is_asked(
    start,
):
    async with start(prices={"zimage-sketch": Decimal(1)}) as bench:
        manifest = bench.manifest(
            "{name: cheap, prompt: one, workflow: zimage-sketch}\n{name: dear, prompt: two}"
        )
        await bench.run(manifest)

        def swap(lines: list[Line]) -> list[Line]:
            cheap, dear = sorted(jobs_of(lines), key=lambda identity: next(
                Decimal(line["credits"]) for line in lines if line["identity"] == identity
            ))  # fmt: skip
            jobs = jobs_of(lines)
            return [
                {**line, "job_id": jobs[cheap], "credits": "0"}
                for line in lines
                if line["identity"] == dear
            ]

        edit(bench, swap)
        before = Counter((await bench.state())["requests"])
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert (result.exit_code, len(state["jobs"]), result.report.credits.spent) == (0, 2, 3)
    assert (Counter(state["requests"]) - before)["generate"] == 2


async def test_receipts_none_of_whose_jobs_this_account_has_are_anothers(start):
    async with start() as bench:
        manifest = bench.manifest(texts(2))
        await bench.run(manifest)
        edit(
            bench,
            lambda lines: [{**line, "job_id": f"x{place}"} for place, line in enumerate(lines)],
        )
        for _ in range(2):  # the key of a refused run is not remembered
            with pytest.raises(OtherAccountError, match="another account"):
                await bench.run(manifest)
        assert len((await bench.state())["jobs"]) == 2


async def test_what_a_record_names_beyond_a_receipt_stands_in_the_report(start):
    async with start() as bench:
        manifest = bench.manifest(texts(2))
        await bench.run(manifest)
        edit(bench, of_all(credits="0.5"))
        result = await bench.run(manifest)
        await bench.agree(result)
    credits = result.report.credits
    assert (credits.spent, credits.price_differs, credits.price_differs_jobs) == (4, 3, 2)


async def test_one_gateway_job_proves_one_job_and_the_second_is_asked_by_its_key(
    start,
):
    async with start() as bench:
        await bench.run(bench.manifest(texts(1)))
        await bench.configure(prices={"zimage-base": "7"})
        manifest = bench.manifest(texts(2))
        await bench.run(manifest)

        def borrow(lines: list[Line]) -> list[Line]:
            cheap, dear = jobs_of(lines)
            cheap_job = jobs_of(lines)[
                cheap
            ].upper()  # the gateway doesn't tell one case from the other
            return [
                {**line, "job_id": cheap_job, "credits": "0"} if line["identity"] == dear else line
                for line in lines
            ]

        edit(bench, borrow)
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert (result.exit_code, len(state["jobs"]), result.report.credits.spent) == (0, 2, 9)


@pytest.mark.parametrize(
    "budget", ["19", "22, max_credits_per_job: 8"], ids=["no ceiling", "a ceiling"]
)
@pytest.mark.parametrize(
    "another", ["workflow: zimage-sketch", "workflow: zimage-base"], ids=["workflow", "shape"]
)
async def test_a_price_of_another_workflow_or_shape_shows_nothing_about_unknown_jobs(
    start, another, budget
):
    """Five jobs took 17 or 18, four of them 4 each, whose receipts say that they cost nothing."""
    by_size = parse_pricing("zimage-base.size=64x64")
    wide = [f"{{name: w{i}, prompt: 'w {i}', params: {{size.width: 128}}}}" for i in range(9)]
    async with start(prices={"zimage-sketch": Decimal(1)}, pricing=by_size) as bench:
        first = f"{{name: first, prompt: one, {another}}}"
        await bench.run(bench.manifest("\n".join([first, *wide[:4]]), budget=budget))
        edit(bench, nobodys_ids_but_for_one)
        result = await bench.run(bench.manifest("\n".join([first, *wide]), budget=budget))
        state = await bench.state()
    assert len(state["jobs"]) == 5
    assert result.report.credits.spent >= 17
