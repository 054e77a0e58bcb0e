"""The allowances by the judge's own count: from what the database was asked and answered, by no rule of the product.

Each allowance is set aside once and returned once; only the newest owner's word counts; at no moment do two owners have
a lease; and what the database says is left agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from psycopg.rows import DictRow

ZERO = Decimal(0)
LEASE_S = 15.0
_Key = tuple[str, str, int]


@dataclass(slots=True)
class _Kept:
    """What a shard keeps of the budget. ``is_returned``: its owner's report has returned the rest."""

    allowance: Decimal
    figures: Decimal = ZERO
    is_returned: bool = False
    is_merged: bool = False
    owner: str = ""
    epoch: int = 0
    renewed_at: float = float("-inf")
    is_running: bool = False
    claims: int = 0

    @property
    def amount(self) -> Decimal:
        if self.is_merged:
            return ZERO
        return self.figures if self.is_returned else max(self.allowance, self.figures)


@dataclass
class Accounts:
    """Watches the database of a play. ``broken`` are the invariants that did not hold."""

    budget: Decimal
    now: Callable[[], float]
    broken: list[str] = field(default_factory=list)
    shards: dict[_Key, _Kept] = field(default_factory=dict)
    calls: int = 0
    takeovers: int = 0
    refused: int = 0
    _used: Decimal = ZERO

    def complain(self, text: str) -> None:
        if len(self.broken) < 20:
            self.broken.append(f"at {self.now():.1f} s: {text}")

    def watch(self, name: str, values: Mapping[str, Any], rows: list[DictRow]) -> None:
        """Follow a statement that the database has executed."""
        self.calls += 1
        answer = str(rows[0].get("answer", "")) if rows else ""
        match name, answer:
            case "open_run", "claimed":
                self._used = values["used"]
            case "settle_run", "accepted":
                self._used = values["used"]
                for key in zip(values["digests"], values["numbers"], strict=True):
                    self._merge((values["run"], *key))
            case "add_shards", "accepted":
                for number, allowance in zip(values["numbers"], values["allowances"], strict=True):
                    self.shards.setdefault((values["run"], values["digest"], number), _Kept(allowance))
            case "claim_shard", "claimed":
                self._claim(values, rows[0])
            case (("renew_shard" | "report_shard" | "release_shard"), _):
                self._fenced(name, answer, values)
            case _:
                pass
        if rows and "remaining" in rows[0] and answer in ("accepted", "claimed"):
            self._compare(name, rows[0]["remaining"])

    def _key(self, values: Mapping[str, Any]) -> _Key:
        return values["run"], values["digest"], values["number"]

    def _claim(self, values: Mapping[str, Any], row: DictRow) -> None:
        kept = self.shards[self._key(values)]
        if row["allowance"] != kept.allowance:
            self.complain(f"a claim got an allowance of {row['allowance']}; {kept.allowance} were set aside")
        if kept.is_returned or kept.is_merged:
            self.complain("a shard that has ended was claimed")
        if values["claim"] == kept.owner:
            kept.renewed_at = self.now()
            return
        if kept.is_running and self.now() - kept.renewed_at < LEASE_S:
            self.complain("a shard was claimed from an owner whose lease was valid")
        if row["epoch"] <= kept.epoch:
            self.complain(f"a new owner got epoch {row['epoch']}; the one before had {kept.epoch}")
        self.takeovers += kept.is_running
        kept.owner, kept.epoch, kept.renewed_at, kept.is_running = values["claim"], row["epoch"], self.now(), True
        kept.claims += 1

    def _fenced(self, name: str, answer: str, values: Mapping[str, Any]) -> None:
        kept = self.shards[self._key(values)]
        self.refused += answer == "superseded"
        if answer != "accepted":
            return
        if values["epoch"] != kept.epoch or not kept.is_running:
            self.complain(f"{name} of epoch {values['epoch']} was accepted; the owner has {kept.epoch}")
        if kept.is_returned:
            self.complain(f"{name} was accepted after the end of the shard: its allowance is returned twice")
        kept.figures = values["spent"] + values["held"]
        kept.renewed_at = self.now()
        kept.is_running = name == "renew_shard"
        kept.is_returned = name == "report_shard"

    def _merge(self, key: _Key) -> None:
        kept = self.shards[key]
        if not kept.is_returned:
            self.complain("a shard was merged that has not ended")
        kept.is_merged = True

    def _compare(self, name: str, left: Decimal) -> None:
        kept = sum((each.amount for each in self.shards.values()), ZERO)
        if self._used + kept > self.budget:
            self.complain(f"{self._used} used and {kept} set aside, of a budget of {self.budget}")
        if left != max(ZERO, self.budget - self._used - kept):
            self.complain(f"{name}: {left} are left by the database, {self.budget - self._used - kept} by our count")

    def close(self) -> None:
        """All shards have ended and are merged: nothing is set aside any more."""
        open_shards = [key for key, each in self.shards.items() if not each.is_merged]
        if open_shards:
            self.complain(f"{len(open_shards)} of {len(self.shards)} shards have not ended or are not merged")
