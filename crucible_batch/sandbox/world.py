"""The gateway without a network.

Every operation is a synchronous method that takes the time as an argument. Same seed, same calls,
same times: same world. Nothing here sleeps, reads a clock or opens a socket, so a simulation can
run a year of it in a minute.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from crucible_batch.sandbox import workflows as params_rules
from crucible_batch.sandbox.assets import Arrival, Assets, Intent
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.jobs import Jobs, Order, ResolvedOrder
from crucible_batch.sandbox.ledger import Ledger, Totals, WorldContext
from crucible_batch.sandbox.records import (
    Account,
    Asset,
    Entry,
    Ids,
    Job,
    Record,
    RefusedError,
    not_found,
)
from crucible_batch.sandbox.workflows import BY_ID, Workflow


@dataclass(frozen=True, slots=True)
class SavedRecords:
    """The records of a state file, in the order in which they were made."""

    accounts: Sequence[Account] = ()
    entries: Sequence[Entry] = ()
    assets: Sequence[Asset] = ()
    jobs: Sequence[Job] = ()


class World:
    """Accounts, credits, assets and jobs.

    Methods raise RefusedError for what the gateway answers with a failure. `now` is in seconds
    since the epoch and never goes back from one call to the next.
    """

    def __init__(
        self, config: SandboxConfig, faults: Faults, now: float, saved: SavedRecords | None = None
    ) -> None:
        saved = saved or SavedRecords()
        issued = len(saved.accounts) + len(saved.entries) + len(saved.assets) + len(saved.jobs)
        ids = Ids(f"world-{config.seed}", issued)
        self.recent_entries = config.recent_entries
        self._changes: list[Record] = []
        self._ledger = Ledger(ids, self._changes, saved.entries)
        context = WorldContext(config, faults, ids, self._ledger, self._changes, now)
        self.jobs = Jobs(context, saved.jobs)
        self.assets = Assets(context, saved.assets)
        self._accounts = {account.key_sha256: account for account in saved.accounts}
        for key, credits in config.accounts.items():
            self._open_account(ids, key, credits, now)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The complete ledger, oldest row first."""
        return self._ledger.entries

    def take_changes(self) -> list[Record]:
        """Return the records that were made or replaced since the last call, in order.

        The caller has to store them.
        """
        changes = self._changes.copy()
        self._changes.clear()
        return changes

    def authenticate(self, key: str) -> str:
        """Return the id of the account that a key opens."""
        account = self._accounts.get(_digest(key))
        if account is None:
            raise RefusedError(
                401,
                "UNAUTHORIZED",
                "The API key is missing or unknown.",
                "Send Authorization: Bearer moltazine_<token>.",
            )
        return account.account_id

    def credits(self, account_id: str, now: float) -> tuple[Totals, list[Entry]]:
        """Return the totals of an account and its newest entries, newest first."""
        self.jobs.settle(now)
        return self._ledger.totals(account_id), self._ledger.recent(account_id, self.recent_entries)

    def workflow(self, workflow_id: str) -> Workflow:
        if workflow_id not in BY_ID:
            raise not_found("Workflow", "WORKFLOW_NOT_FOUND")
        return BY_ID[workflow_id]

    def create_asset(self, account_id: str, intent: Intent, now: float) -> Asset:
        self.jobs.settle(now)
        return self.assets.create(account_id, intent, now)

    def delete_asset(self, account_id: str, asset_id: str, now: float) -> Decimal:
        self.jobs.settle(now)
        return self.assets.delete(account_id, asset_id, now)

    def receive(self, asset_id: str, arrival: Arrival, now: float) -> Asset:
        return self.assets.receive(asset_id, arrival, now)

    def submit(self, account_id: str, order: Order, now: float) -> tuple[Job, bool]:
        """Accept an order, or find the job that its key bought before.

        The flag is true if the job is new. The key is looked up before anything else is asked: what
        was bought stays reachable with an empty account, a price that rose, a workflow or an input
        image that is gone.
        """
        self.jobs.settle(now)
        earlier = self.jobs.earlier(account_id, order)
        if earlier is not None:
            return earlier, False
        resolved = self._resolved(account_id, order, now)
        return self.jobs.accept(account_id, order, resolved, now), True

    def _resolved(self, account_id: str, order: Order, now: float) -> ResolvedOrder:
        workflow = self.workflow(order.workflow_id)
        params_rules.check(workflow, order.params)
        source, source_sha256 = None, None
        asset_id = order.params.get("image.image")
        if asset_id is not None:
            source = self.assets.source(account_id, str(asset_id), now)
            source_sha256 = source.sha256
        outputs = params_rules.output_shapes(workflow, order.params, source)
        return ResolvedOrder(workflow, outputs, source_sha256)

    def job(self, account_id: str, job_id: str, now: float) -> Job:
        self.jobs.settle(now)
        return self.jobs.get(account_id, job_id)

    def _open_account(self, ids: Ids, key: str, credits: Decimal, now: float) -> None:
        if _digest(key) in self._accounts:
            return
        account = Account(ids.next(), _digest(key))
        self._accounts[account.key_sha256] = account
        self._changes.append(account)
        self._ledger.post(account.account_id, "grant", credits, now, description="Start credits")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
