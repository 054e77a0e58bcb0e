"""The parts of a run that all its jobs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.ports import Gateway
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.downloads import Downloader
from crucible_batch.engine.history import JobIdOwners
from crucible_batch.engine.job_records import PriceRecords
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.late_outputs import LateOutputChecker
from crucible_batch.engine.poller import Poller
from crucible_batch.engine.purchase_gate import PurchaseGate
from crucible_batch.engine.recovery import Recovery
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.engine.slots import Slots
from crucible_batch.engine.uploads import AssetUploader


@dataclass(frozen=True, slots=True)
class JobContext:
    """The parts of a run that all its jobs share.

    ``is_forgotten``: whether a job's submit is in doubt and its key too old to be sent again.
    """

    gateway: Gateway
    accounting: JournaledLedger
    admission: Admission
    assets: AssetUploader
    poller: Poller
    fetcher: Downloader
    lister: LateOutputChecker
    records: PriceRecords
    stop: Shutdown
    slots: Slots
    clock: Clock
    gate: PurchaseGate
    gone_workflows: dict[str, ErrorInfo]
    recovery: Recovery
    owners: JobIdOwners
    is_forgotten: Callable[[Job], bool]
