"""The gate that keeps a run from buying anything in an outage, and what becomes of jobs that reach
it late."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from crucible_batch.core.events import Accepted, Held, HoldReleased, Refused, SubmitUnknown
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Hold, Submit
from crucible_batch.core.outage import Outage
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.purchase_gate import PurchaseGate
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError
from tests.unit.engine.desk import passed
from tests.unit.engine.worker_bench import Bench, leave_in_doubt

NO_ANSWER = GatewayError("no answer", code="NO_ANSWER", operation="workflows")


class Gateway:
    """A list of workflows that is read when ``answers`` is set; ``error`` is raised instead, where
    there is one."""

    def __init__(self, outage: Outage) -> None:
        self.outage = outage
        self.answers = asyncio.Event()
        self.error: GatewayError | None = None
        self.reads = 0

    async def workflows(self) -> list[str]:
        self.reads += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        self.outage.answered(1.0)
        return []


class World:
    def __init__(self) -> None:
        self.outage, self.stop = Outage(), Shutdown()
        self.gateway = Gateway(self.outage)
        self.pause = Pause(self.stop, SystemClock(), nullcontext)
        self.gate = PurchaseGate(
            self.gateway,  # type: ignore[arg-type]
            self.outage,
            self.pause,
            self.stop,
            SystemClock(),
        )


async def test_an_open_gate_costs_no_request() -> None:
    world = World()
    await world.gate.wait_until_open()
    assert world.gate.release_if_closed() is None
    assert world.gateway.reads == 0


async def test_nothing_may_be_bought_in_a_pause_in_an_outage_and_in_a_run_that_is_to_stop() -> None:
    world = World()
    assert world.gate.is_open
    world.pause.begin()
    assert not world.gate.is_open
    world.pause.end()
    world.pause.suspend()
    assert not world.gate.is_open
    world.pause.suspend(False)
    world.outage.unanswered(0.0)
    assert not world.gate.is_open
    world.outage.answered(1.0)
    assert world.gate.is_open
    world.stop.end_buying(ErrorInfo("X", "x"))
    assert not world.gate.is_open


async def test_a_closed_gate_opens_once_the_gateway_answers_and_one_request_asks_for_all() -> None:
    world = World()
    world.outage.unanswered(0.0)
    waiting = [asyncio.create_task(world.gate.wait_until_open()) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    world.gateway.answers.set()
    await asyncio.gather(*waiting)
    assert world.gateway.reads == 1


async def test_a_pause_that_begins_in_an_outage_keeps_the_gate_closed_after_its_end() -> None:
    world = World()
    world.outage.unanswered(0.0)
    passing = asyncio.create_task(world.gate.wait_until_open())
    await passed()
    world.pause.begin()
    world.gateway.answers.set()
    await passed()
    assert (world.gateway.reads, world.outage.is_on, passing.done()) == (1, False, False)
    world.gateway.answers.clear()
    world.outage.unanswered(2.0)
    world.pause.end()
    await passed()
    assert (world.gateway.reads, passing.done()) == (
        2,
        False,
    )  # another outage has begun in the pause
    world.gateway.answers.set()
    await passing


async def test_a_gate_stays_closed_where_another_outage_begins() -> None:
    world = World()
    world.outage.unanswered(0.0)
    passing = asyncio.create_task(world.gate.wait_until_open())
    await asyncio.sleep(0)
    world.outage.answered(1.0)
    world.outage.unanswered(2.0)
    world.gateway.error = NO_ANSWER
    world.gateway.answers.set()
    with pytest.raises(GatewayError):
        await passing


@pytest.mark.parametrize("status", [500, 403])
async def test_any_answer_opens_it(status: int) -> None:
    world = World()
    world.outage.unanswered(0.0)
    passing = asyncio.create_task(world.gate.wait_until_open())
    await asyncio.sleep(0)
    world.outage.answered(1.0)
    world.gateway.error = GatewayError("x", code="X", status=status)
    world.gateway.answers.set()
    await passing


async def test_a_refused_key_ends_the_wait() -> None:
    world = World()
    world.outage.unanswered(0.0)
    world.gateway.error = KeyRefusedError("x", code="UNAUTHORIZED", status=401)
    passing = asyncio.create_task(world.gate.wait_until_open())
    await asyncio.sleep(0)
    world.outage.answered(1.0)  # by this answer
    world.gateway.answers.set()
    with pytest.raises(KeyRefusedError):
        await passing


async def test_a_run_that_stops_does_not_wait() -> None:
    world = World()
    world.outage.unanswered(0.0)
    world.stop.end_buying(ErrorInfo("X", "x"))
    await world.gate.wait_until_open()
    assert world.gateway.reads == 0


async def test_no_credits_are_held_while_the_gateway_does_not_answer() -> None:
    bench = Bench()
    await bench.admission.read_account()
    bench.outage.unanswered(0.0)
    reads: list[bool] = []

    async def workflows() -> list[str]:
        reads.append(bench.accounting.ledger.committed == 0)
        bench.outage.answered(1.0)
        return []

    bench.gateway.workflows = workflows  # type: ignore[method-assign]
    assert isinstance(await bench.worker.perform(bench.job, Hold()), Held)
    assert reads == [True]


async def test_a_job_that_holds_credits_in_an_outage_releases_them_unsent() -> None:
    bench = Bench()
    await bench.hold()
    bench.outage.unanswered(0.0)
    event = await bench.do(Submit())
    assert isinstance(event, HoldReleased)
    assert bench.gateway.submitted == []
    await bench.record(event)
    assert bench.accounting.ledger.held == 0


async def test_a_job_whose_workflow_was_found_to_be_gone_meanwhile_is_not_sent() -> None:
    bench = Bench()
    await bench.hold()

    async def turn(_slot: object) -> None:
        bench.worker._context.gone_workflows["w"] = ErrorInfo("WORKFLOW_NOT_FOUND", "x")

    bench.turn = turn
    assert isinstance(await bench.do(Submit()), Refused)
    assert bench.gateway.submitted == []


async def test_an_outage_that_begins_while_a_job_waits_for_its_turn_keeps_it_back() -> None:
    bench = Bench()
    await bench.hold()

    async def turn(_slot: object) -> None:
        bench.outage.unanswered(0.0)

    bench.turn = turn
    assert isinstance(await bench.do(Submit()), HoldReleased)
    assert bench.gateway.submitted == []


@pytest.mark.parametrize("in_doubt", [True, False])
async def test_only_a_submit_in_doubt_is_repeated_in_an_outage(in_doubt: bool) -> None:
    bench = Bench()
    await bench.hold()
    bench.outage.unanswered(0.0)
    error = GatewayError(
        "x", code="X", status=502 if in_doubt else 429, in_doubt=in_doubt, operation="generate"
    )
    assert await bench.is_tried_again(error) is in_doubt


async def test_a_submit_in_doubt_is_not_repeated_with_a_key_that_grew_old_in_an_outage() -> None:
    bench = Bench()
    await bench.hold()
    error = GatewayError("x", code="X", status=502, in_doubt=True, operation="generate")
    assert await bench.is_tried_again(error)
    bench.key_is_old = True
    assert not await bench.is_tried_again(error)


async def test_a_submit_in_doubt_is_not_sent_with_a_key_that_grew_old_in_an_outage() -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")

    async def turn(_slot: object) -> None:
        bench.key_is_old = True

    bench.turn = turn
    event = await bench.do(Submit())
    assert isinstance(event, SubmitUnknown)
    assert event.error.code == "KEY_MAY_BE_FORGOTTEN"
    assert bench.gateway.submitted == []
    assert bench.accounting.ledger.hold_of("job") == 32


async def test_a_submit_in_doubt_of_an_earlier_run_waits_for_the_gateway() -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")
    bench.outage.unanswered(0.0)
    answered: list[int] = []

    async def workflows() -> list[str]:
        answered.append(len(bench.gateway.submitted))
        bench.outage.answered(1.0)
        return []

    bench.gateway.workflows = workflows  # type: ignore[method-assign]
    assert isinstance(await bench.do(Submit()), Accepted)
    assert answered[0] == 0


def test_an_outage_that_is_given_up_ends_the_run_with_the_first_job() -> None:
    outage = Outage()
    stop = Shutdown(outage)
    stop.note(NO_ANSWER, "fox")
    assert not stop.leaving.is_set()
    outage.is_given_up = True
    stop.note(NO_ANSWER, "fox")
    assert stop.leaving.is_set()
    assert stop.reasons == {ExitCode.STOPPED}
