"""A third judge, of plays with an object store: what the store has, and when it had it.

It knows the names of objects and the fields of entries, from ``docs/`` alone, and uses no code of
the product.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Any

from tests.verification.fleet.evidence import Evidence

_ENTRY = re.compile(r"\.crucible/shards/([0-9a-f]{8})/(\d+)-of-\d+/(\d{8})\.json")
_LISTED = re.compile(r"\.crucible/shards/(\d{8})\.json")
_SILENT_S = 15.0
_LEVEL = {"reserve": Decimal(1), "refund": Decimal(-1)}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a log, and when it was created."""

    at: float
    number: int
    text: str
    content: Any

    @property
    def writer(self) -> str:
        return str(self.content["writer"])

    @property
    def is_closed(self) -> bool:
        return bool(self.content["closed"])

    @property
    def has_ended(self) -> bool:
        figures = self.content["figures"]
        return figures is not None and figures["exit_code"] is not None

    @property
    def events(self) -> list[int]:
        return [row[0] for row in self.content["rows"]["events"]]


def store_broken(evidence: Evidence) -> list[str]:
    """Return what does not hold of the store, each as a sentence."""
    case = _Case(evidence)
    checks = (case.waves, case.logs, case.holds, case.allowances, case.signs_of_life)
    return [text for check in checks for text in list(check())[:5]]


def hasty_starts(evidence: Evidence) -> int:
    """Count how often a shard was continued by another process although its log was growing.

    No money is lost by it, so no judge objects.
    """
    return sum(
        later.writer != earlier.writer
        and not earlier.has_ended
        and not later.is_closed
        and later.at - earlier.at < _SILENT_S
        for log in _Case(evidence).logs_by_shard.values()
        for earlier, later in pairwise(log)
    )


class _Case:
    def __init__(self, evidence: Evidence) -> None:
        self._seen = evidence

    @cached_property
    def logs_by_shard(self) -> dict[tuple[str, int], list[_Entry]]:
        """The entries of each log, by the first digits of its plan and the shard's number."""
        found: dict[tuple[str, int], list[_Entry]] = defaultdict(list)
        for key in sorted(self._seen.stored_at):
            name = _ENTRY.fullmatch(key)
            if name is not None:
                text = (self._seen.run_dir / key).read_text()
                entry = _Entry(self._seen.stored_at[key], int(name[3]), text, json.loads(text))
                found[name[1], int(name[2])].append(entry)
        return found

    def waves(self) -> Iterator[str]:
        """One plan at a time is divided, and each is merged before the next; nothing numbered is
        ever changed."""
        for key in self._seen.overwritten:
            yield f"{key} was changed after it was created"
        keys = sorted(key for key in self._seen.stored_at if _LISTED.fullmatch(key))
        listed = [json.loads((self._seen.run_dir / key).read_text())["plan"] for key in keys]
        if [each["merged"] for each in listed] != [False, True] * (len(listed) // 2):
            yield f"the plans are divided and merged as {listed}"
        for divided, merged in zip(listed[::2], listed[1::2], strict=False):
            if divided["digest"] != merged["digest"]:
                yield f"{divided} was divided, and {merged} is merged"

    def logs(self) -> Iterator[str]:
        """A log has each number once, its rows are in order, and its last entry alone closes it."""
        for shard, log in self.logs_by_shard.items():
            if [entry.number for entry in log] != list(range(1, len(log) + 1)):
                yield f"the log of {shard} has the entries {[entry.number for entry in log]}"
            if [entry.is_closed for entry in log] != [False] * (len(log) - 1) + [True]:
                yield f"the log of {shard} is not closed by its last entry alone"
            numbers = [number for entry in log for number in entry.events]
            if numbers != sorted(set(numbers)):
                yield f"the rows of the log of {shard} are not in order"
            for earlier, later in pairwise(log):
                if later.at < earlier.at:
                    yield f"entry {later.number} of {shard} is older than the one before"

    def holds(self) -> Iterator[str]:
        """When a shard's purchase is sent, an entry of its log has its key, and it isn't closed
        unless the job was there before."""
        accepted = {
            each.key: each.accepted_at - self._seen.began for each in self._seen.generations
        }
        for submit in self._seen.submits:
            shard = self._seen.shards.get(submit.process)
            if shard is None:
                continue
            log = self.logs_by_shard.get((shard[0][:8], shard[1]), [])
            entries = [entry for entry in log if entry.at <= submit.at]
            if not any(f"{submit.key}" in entry.text for entry in entries):
                yield f"{submit.process} sent {submit.key} before its log had it"
            is_closed = any(entry.is_closed for entry in entries)
            if is_closed and accepted.get(submit.key, submit.at) >= submit.at:
                yield f"{submit.process} bought {submit.key} after its log was closed"

    def allowances(self) -> Iterator[str]:
        """What the keys of a log have cost never exceeds the allowance of its shard.

        A key that was held and not sent may be sent by another process once the log is closed.
        """
        for plan in self._seen.plans:
            head = json.loads(plan.read_text())
            for shard in head["shards"]:
                log = self.logs_by_shard.get((head["digest"][:8], shard["number"]), [])
                text = "".join(entry.text for entry in log)
                closed_at = min((entry.at for entry in log if entry.is_closed), default=math.inf)
                ids = {
                    each.job_id
                    for each in self._seen.generations
                    if f"{each.key}" in text and each.accepted_at - self._seen.began <= closed_at
                }
                level = Decimal(0)
                for row in sorted(self._seen.ledger, key=lambda row: row.at):
                    if row.job_id in ids:
                        level += _LEVEL.get(row.entry_type, Decimal(0)) * row.amount
                        if level > Decimal(shard["allowance"]):
                            yield (
                                f"shard {shard['number']} of {head['digest'][:8]} took {level}"
                                f" of {shard['allowance']}"
                            )

    def signs_of_life(self) -> Iterator[str]:
        """A shard that is running adds an entry often enough not to be taken for a dead one."""
        cut = self._seen.had_store_troubles
        for shard, log in self.logs_by_shard.items():
            for earlier, later in pairwise(log):
                is_same = earlier.writer == later.writer and not later.is_closed
                if is_same and not cut and later.at - earlier.at > _SILENT_S / 2:
                    yield (
                        f"the log of {shard} was silent for {later.at - earlier.at:.1f} s although"
                        " its process was running"
                    )
