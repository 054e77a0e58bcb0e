"""The purse: every row of the world's ledger, held against the budget and against what could be foreseen.

How far a budget may be exceeded
    Nothing may be bought beyond the budget at a price that could be foreseen. What could be: the highest price of the
    class that this run had in its journal when it held the credits; where it had none yet, the ceiling or the highest
    that earlier runs saw. Where they did see one and the ceiling didn't fit, it is what was held, if that was all that
    was left; of a job with images, what was held for it when those were paid. What a purchase costs beyond that is its
    *surprise*. Surprises add up, but for those of classes without ceiling or past: such a first purchase holds all that
    is left, so only the largest of them counts (without a budget nothing limits what is left, and they add up as well;
    then only our books are held against it).
    With a ceiling, and prices that stay below it and don't rise between runs, the allowance is 0.
    An upload whose answer was lost before any had named a price can't be counted, and is allowed too (*nameless*).
    Where the run directory was lost, what had gone by then is beyond what anybody can know, and is allowed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from crucible_batch.core.events import Accepted, Created, Held
from crucible_batch.journal import Journal
from crucible_batch.sandbox.records import Entry
from tests.simulation.mortality import Stage
from tests.simulation.surroundings import STRANGER, Surroundings, marker
from tests.simulation.virtual_time import true_now

ZERO = Decimal(0)
_UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class _Heard:
    """A price that our books knew. ``life`` is the process that was told it, 0 where it came from an earlier one."""

    life: int
    price_class: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class _Hold:
    """What was known when credits were held for a key or a nonce."""

    life: int = 0
    rest: Decimal | None = None
    """What was held, where nothing was left besides."""
    heard: tuple[_Heard, ...] = ()

    def foreseen(self, price_class: str, ceiling: Decimal) -> Decimal:
        """The highest price that could be foreseen."""
        heard = [h for h in self.heard if h.price_class == price_class]
        now = [h.price for h in heard if h.life == self.life]
        if now or not heard:
            return max(now, default=ceiling)
        return max(ceiling if self.rest is None else min(ceiling, self.rest), *(h.price for h in heard))


@dataclass
class Purse:
    """What is gone, what may be gone. Rows of the ledger before ``begin`` are another run directory's."""

    around: Surroundings
    ceiling: Decimal | None
    complain: Callable[[str], None]
    begin: int = 0
    left: Callable[[], Decimal | None] = lambda: None
    """What our books have left of the budget at this moment; None without one."""
    _life: int = 0
    _cap: Decimal | None = None
    _inherited: Decimal = ZERO
    _checked: int = 0
    _gone: Decimal = ZERO
    _surprises: Decimal = ZERO
    _first_surprise: Decimal = ZERO
    _nameless: Decimal = ZERO
    _priced: set[str] = field(default_factory=set)
    _durable_keys: set[str] = field(default_factory=set)
    _holds: dict[str, _Hold] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    """The newest key of each job, by its identity."""
    _heard: list[_Heard] = field(default_factory=list)

    # -- what the simulation tells ------------------------------------------------------------------------------------

    def born(self, budget: Decimal | None) -> None:
        """A process begins. A budget that was lowered doesn't unmake what was held under the old one."""
        self._life += 1
        if self._life == 1:
            self._cap = budget
        else:
            self._cap = None if self._cap is None or budget is None else max(self._cap, budget)

    def opened(self, journal: Journal) -> None:
        """What is durable is what the file holds, not what an earlier process believed."""
        self._durable_keys.clear()
        self._heard.clear()
        for _, event in journal.events():
            if isinstance(event, Held):
                self._durable_keys.add(event.key)
            elif isinstance(event, Accepted) or (isinstance(event, Created) and not event.assumed):
                self._hear(event.job_id if isinstance(event, Accepted) else event.asset_id, 0)

    def watch(self, stage: Stage, subject: str, kind: str, body: dict[str, Any]) -> None:
        """Follow a row of the journal on its way."""
        match stage, kind:
            case Stage.ASKED, "Held":
                left = self.left()
                rest = None if left is None or left > 0 else Decimal(body["credits"])
                self._holds[body["key"]] = _Hold(self._life, rest, tuple(self._heard))
                self._keys[subject] = body["key"]
            case Stage.ASKED, "Prepared":
                self._trim(self._keys[subject], Decimal(body["credits"]))
            case Stage.ASKED, "Intended":
                self._holds[body["nonce"]] = _Hold(self._life, None, tuple(self._heard))
            case Stage.ASKED, "Accepted" if self._was_in_doubt(body["job_id"]):
                # Counts at once, so that the next in doubt goes by it; others do when they are durable.
                self._hear(body["job_id"], self._life)
            case Stage.DURABLE, "Held":
                self._durable_keys.add(body["key"])
            case Stage.KNOWN, "Accepted":
                self._hear(body["job_id"], self._life)
            case Stage.KNOWN, "Created" if not body["assumed"]:
                self._hear(body["asset_id"], self._life)
            case _:
                pass

    def _trim(self, key: str, credits: Decimal) -> None:
        """Images and their job are held together. They are paid: so much of it is left for the job."""
        hold = self._holds[key]
        if hold.rest is not None:
            self._holds[key] = replace(hold, rest=min(hold.rest, credits))

    def _was_in_doubt(self, job_id: str) -> bool:
        """Whether its credits were held by an earlier process, which never heard what became of it."""
        key = self.around.world.jobs.find(job_id).idempotency_key or ""
        return self._holds.get(key, _Hold()).life < self._life

    def _hear(self, purchase: str, life: int) -> None:
        """Our books know what a job or an asset cost."""
        self._priced.add(purchase)
        asset = next((asset for asset in self.around.world.assets if asset.asset_id == purchase), None)
        if asset is not None:
            self._heard.append(_Heard(life, _UPLOAD, asset.charged))
        else:
            job = self.around.world.jobs.find(purchase)
            self._heard.append(_Heard(life, job.workflow_id, job.price))

    def hold_is_durable(self, key: str) -> bool:
        return key in self._durable_keys

    def past_is_lost(self) -> None:
        """The run directory was deleted or an old copy put back: what it bought since is not in its books."""
        self.check_rows()
        self.begin = len(self.around.world.entries)
        self._inherited = self._gone

    # -- what holds ---------------------------------------------------------------------------------------------------

    def _is_ours(self, entry: Entry) -> bool:
        if entry.job_id is not None:
            return not marker(self.around.world.jobs.find(entry.job_id)).startswith(STRANGER)
        return entry.asset_id in self._our_assets()

    def _our_assets(self) -> set[str]:
        return {a.asset_id for a in self.around.world.assets if "cb_nonce" in a.metadata}

    def check_rows(self) -> None:
        """Walk the new rows of the world's ledger: what is gone and promised stays within budget and surprises."""
        self.around.world.jobs.settle(true_now())
        entries = self.around.world.entries
        for entry in entries[self._checked :]:
            if entry.entry_type == "grant" or not self._is_ours(entry):
                continue
            match entry.entry_type:
                case "reserve" | "upload":
                    self._gone += entry.amount
                    self._surprise(entry)
                    self._check_budget(entry)
                case "refund" | "rebate":
                    self._gone -= entry.amount
                case _:
                    pass
        self._checked = len(entries)

    @property
    def allowance(self) -> Decimal:
        """By how much a budget may be exceeded; see the head of this file."""
        return self._surprises + self._first_surprise + self._nameless

    def _check_budget(self, entry: Entry) -> None:
        if self._cap is None:
            return
        allowed = self._cap + self._inherited + self.allowance
        if self._gone > allowed:
            self.complain(
                f"{self._gone} were gone after {entry.entry_type} of {entry.amount} ({entry.description});"
                f" the budget is {self._cap}, the allowance {self._inherited} + {self.allowance}"
            )

    def _surprise(self, entry: Entry) -> None:
        """Count what nobody could foresee of a purchase."""
        ceiling = self.ceiling
        hold, price_class = self._hold_for(entry)
        heard = [h for h in hold.heard if h.price_class == price_class]
        if entry.entry_type == "upload":
            if not heard and entry.asset_id not in self._priced:
                self._nameless += entry.amount
            elif not heard and ceiling is None:
                self._first_surprise = max(self._first_surprise, entry.amount)
            # Else it is held together with its job, whose ceiling or known price is above that of an upload.
            return
        surprise = max(ZERO, entry.amount - hold.foreseen(price_class, ceiling or ZERO))
        if not heard and ceiling is None and self._cap is not None:
            self._first_surprise = max(self._first_surprise, surprise)
        else:
            self._surprises += surprise

    def _hold_for(self, entry: Entry) -> tuple[_Hold, str]:
        """What was known when a purchase was held, and its price class."""
        if entry.entry_type == "upload":
            asset = self.around.world.assets._assets[entry.asset_id or ""]
            return self._holds.get(str(asset.metadata["cb_nonce"]), _Hold()), _UPLOAD
        job = self.around.world.jobs.find(entry.job_id or "")
        return self._holds.get(job.idempotency_key or "", _Hold()), job.workflow_id

    def taken(self) -> dict[str, Decimal]:
        """What the world took of this run directory, by kind."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for entry in self.around.world.entries[self.begin :]:
            if entry.entry_type != "grant" and self._is_ours(entry):
                sums[entry.entry_type] += entry.amount
        return sums
