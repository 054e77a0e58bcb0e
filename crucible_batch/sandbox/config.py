"""How a sandbox is set up (accounts, prices, speed, faults), and where it is found when it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from crucible_batch.sandbox.faults import FaultRule
from crucible_batch.sandbox.pricing import Pricing, check_scope
from crucible_batch.sandbox.workflows import BY_ID

DEFAULT_KEY = "moltazine_sandbox"


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Everything that can be set when a sandbox starts.

    All durations are in seconds, all prices in credits. Raises ValueError for amounts that the
    ledger could not keep exactly, and for prices of unknown workflows. There is at least one
    account, and one runner.
    """

    api_port: int = 0
    """0 takes a free port."""
    storage_port: int = 0
    state: Path | None = None
    """The SQLite file that remembers everything across restarts; without one, all is forgotten
    at the end."""
    seed: int = 0
    """Fixes ids, service times and faults."""
    accounts: Mapping[str, Decimal] = field(
        default_factory=lambda: {DEFAULT_KEY: Decimal(1000)}, repr=False
    )
    """The credits that each key starts with. A key that the state file knows keeps what it has."""
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    """Prices by workflow id, in place of those of the table."""
    upload_price: Decimal = Decimal("0.5")
    pricing: Mapping[str, Pricing] = field(default_factory=dict)
    """How prices move, by workflow id or `upload`; see `parse_pricing`. Prices that are not
    listed don't change."""
    rebate_share: Decimal = Decimal(1)
    """The part of an upload's charge that comes back when the asset is deleted."""
    recent_entries: int = 50
    """How many entries of the ledger `GET /credits` lists at most."""
    runners: int = 4
    time_scale: float = 1.0
    """Multiplies the service times; 0 finishes every job immediately."""
    ready_after_s: float = 0.2
    """From the upload to `ready`."""
    upload_ttl_s: float = 900.0
    download_ttl_s: float = 300.0
    faults: tuple[FaultRule, ...] = ()
    """What goes wrong; see `parse_faults`."""
    slow_answer_s: float = 2.0
    slow_queue_s: float = 5.0
    """How much longer a job takes that meets the fault `slow-queue`."""
    refund_late_s: float = 60.0
    """From the end of a failed job that meets the fault `refund-late` to its refund."""
    partial_refund: Decimal = Decimal("0.5")
    """The part of its price that a failed job gets back that meets the fault `refund-partial`."""
    retry_after_s: int = 1
    budget: Decimal | None = None
    """What the client may spend, for the judge. It changes nothing else."""
    wanted_once: bool = False
    """Whether the judge takes each job for one that is wanted once."""

    def __post_init__(self) -> None:
        for amount in (*self.accounts.values(), self.upload_price):
            check_credits(amount)
        check_prices(self.prices)
        check_pricing(self.pricing)


@dataclass(frozen=True, slots=True)
class Running:
    """Where a running sandbox is found, and the first of its keys."""

    api_url: str
    storage_url: str
    api_key: str = field(repr=False)


def check_credits(amount: Decimal) -> None:
    """Raise ValueError unless sums of such amounts stay exact in the 28 digits of a Decimal."""
    is_in_range = amount.is_finite() and 0 <= amount < 10**12
    if not is_in_range or amount != round(amount, 6):
        raise ValueError(f"credits are from 0 to 10**12 with at most 6 places, not {amount}")


def check_prices(prices: Mapping[str, Decimal]) -> None:
    """Raise ValueError for a price that can't be asked, or one of a workflow that there isn't."""
    for workflow_id, price in prices.items():
        check_credits(price)
        if workflow_id not in BY_ID:
            raise ValueError(
                f"unknown workflow {workflow_id!r}; known are {', '.join(sorted(BY_ID))}"
            )


def check_pricing(pricing: Mapping[str, Pricing]) -> None:
    """Raise ValueError for prices that can't be asked, or of what there isn't."""
    for scope, rule in pricing.items():
        check_scope(scope)
        if 0 in (rule.size, rule.steps):
            raise ValueError(
                f"the size and the steps that the base price of {scope} is for are not 0"
            )
