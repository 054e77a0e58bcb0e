"""What a run says of its jobs in the answer to a command: those at the gateway, and those that are
being saved.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.core.engine_options import EngineOptions
from crucible_batch.core.events import Succeeded
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outage import Outage
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine.progress_reporter import ProgressReporter
from crucible_batch.engine.reopening import Reopening
from crucible_batch.engine.run_control import RunControl
from crucible_batch.engine.slots import Slot
from crucible_batch.runs.control_desk import ControlDesk
from tests.harness.case_table import each_case
from tests.harness.job_events import saved_event
from tests.unit.engine.test_slots import Bench

PLANNED = PlannedJob(0, "fox", "fox", "w", {})
SUCCEEDED = Succeeded(at=1.0, outputs=1)
SAVED = saved_event(0, "fox/0.png", at=2.0)


def reporter() -> ProgressReporter:
    accounting: Any = SimpleNamespace(balance=None)
    observer: Any = SimpleNamespace(notify=lambda _message: None)
    return ProgressReporter(
        observer,
        accounting,
        Bench(1).clock,
        lambda _planned: False,
        None,  # type: ignore[arg-type]
    )


async def test_what_is_only_saved_is_not_in_flight_and_what_has_no_slot_yet_counts() -> None:
    bench, tell, waiting = Bench(4), reporter(), deque[tuple[PlannedJob, Job]]()
    ports: Any = SimpleNamespace(clock=bench.clock, outage=Outage())
    reopening = Reopening(list, lambda _name: True, lambda _job: True, waiting)
    control = RunControl(ports, bench.stop, bench.slots, tell, reopening, options=EngineOptions())
    assert (control.in_flight, control.saving) == (0, 0)
    slot = Slot()
    await bench.slots.wait_for_turn(slot)
    assert (control.in_flight, control.saving) == (1, 0)
    bench.slots.left_gateway(slot)
    tell.job(PLANNED, Job("fox"), SUCCEEDED, Job("fox", phase=Phase.FETCHING))
    assert (control.in_flight, control.saving) == (0, 1)
    tell.job(PLANNED, Job("fox"), SAVED, Job("fox", phase=Phase.SUCCEEDED))
    assert (control.in_flight, control.saving) == (0, 0)
    waiting.extend(
        (PLANNED, Job("fox", phase=phase))
        for phase in (Phase.IN_FLIGHT, Phase.FETCHING, Phase.READY)
    )
    assert (control.in_flight, control.saving) == (1, 1)


@each_case("action, wanted", [("pause", ["begin", "journal"]), ("resume", ["journal", "end"])])
async def test_a_run_is_paused_before_that_is_written_and_resumed_after(
    action: str, wanted: list[str]
) -> None:
    """Nothing is bought while it is written, and nothing that a killed run has not on record."""
    steps = list[str]()

    async def append_control(_number: int, _entry: object) -> None:
        await asyncio.sleep(0)
        steps.append("journal")

    pause = SimpleNamespace(begin=lambda: steps.append("begin"), end=lambda: steps.append("end"))
    control: Any = SimpleNamespace(pause=pause, is_stopping=False, in_flight=0, saving=0)
    rest: Any = {
        "journal": SimpleNamespace(append_control=append_control),
        "clock": Bench(1).clock,
        "observer": SimpleNamespace(notify=lambda _message: None),
    }
    desk = ControlDesk(control=control, number=1, on_deadline=lambda _seconds: None, **rest)
    source = ControlSource("anna@host", "terminal")
    if action == "resume":
        await desk.perform(ControlCommand(ControlAction.PAUSE), source)
        steps.clear()
    await desk.perform(ControlCommand(ControlAction(action)), source)
    assert steps == wanted


@each_case(
    "in_flight, saving, words",
    [
        (0, 0, "no job is in flight"),
        (1, 0, "1 job in flight is being collected"),
        (2, 1, "2 jobs in flight are being collected, the outputs of 1 job are being saved"),
        (0, 3, "no job is in flight, the outputs of 3 jobs are being saved"),
    ],
)
def test_the_answer_names_both(in_flight: int, saving: int, words: str) -> None:
    control: Any = SimpleNamespace(in_flight=in_flight, saving=saving)
    rest: Any = {"journal": None, "clock": None, "observer": None}
    desk = ControlDesk(control=control, number=1, on_deadline=lambda _seconds: None, **rest)
    assert desk._collected() == words
