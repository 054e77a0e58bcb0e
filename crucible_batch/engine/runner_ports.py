"""What a run reaches outside of the engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.outage import Outage
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.ports import Derivation, Gateway
from crucible_batch.core.progress import Observer
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.history import History
from crucible_batch.engine.journaled_ledger import EventLog
from crucible_batch.engine.output_relocator import none_freed
from crucible_batch.input_images import load_input
from crucible_batch.outputs import OutputStore, Receipts

Judged = Callable[[asyncio.Event], Awaitable[Mapping[str, ErrorInfo]]]


async def _none_failed(_leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPorts:
    """What a run reaches outside of the engine. ``nonce`` and ``jitter`` are its randomness.

    ``on_counted`` is called at the end with each job of the plan, in manifest order, and what
    stopped the run. ``outage`` is the one that ``gateway`` reports to. ``explained`` returns the
    error of a job that can't be paid for as it is reported, and ``allowance_of`` names the budget
    that the run's is an allowance of (``Balance``). ``derivation`` has the jobs that are made from
    outputs, if the manifest has such. ``log`` makes events durable in place of ``history``, which
    has them then as well. ``load_image`` reads an input image for its upload.

    ``judged`` is awaited once, when no job can be advanced any more. It returns the jobs that count
    as failed although their outputs are saved, with the reason, by identity; it returns soon after
    its argument is set, since the run has to end then. ``freed`` removes a file at the path of an
    output if it can be made again, and returns whether it did.
    """

    gateway: Gateway
    history: History
    store: OutputStore
    receipts: Receipts
    clock: Clock
    observer: Observer
    nonce: Callable[[], str]
    jitter: Callable[[], float] = random.random
    on_counted: Callable[[PlannedJob, Job, Mapping[str, ErrorInfo]], None] = (
        lambda _planned, _job, _stops: None
    )
    outage: Outage = field(default_factory=Outage)
    explained: Callable[[ErrorInfo], ErrorInfo] = lambda error: error
    allowance_of: str | None = None
    derivation: Derivation | None = None
    log: EventLog | None = None
    load_image: Callable[[InputImage], Awaitable[bytes]] = load_input
    judged: Judged = _none_failed
    freed: Callable[[str], Awaitable[bool]] = none_freed
