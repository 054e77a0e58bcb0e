"""The judge: what a client was charged, what it bought twice, and what went over its budget.

It knows the gateway's own records and what was sent to the client, and nothing of the client, so it
judges any program that follows the contract. It accuses only on evidence:

- The same key again is the same purchase, as the contract has it.
- Equal jobs under different keys may be wanted, as several takes of one prompt are. Such a job is
  *bought twice* if it was paid for and the client can't use it: the client never got its id, but
  that of an equal one, or has downloaded none of its outputs, but one of an equal job.
- A failed job is bought again under another key: the contract has no other way.
- An upload is *bought twice* if it was paid for, was neither used by a job nor deleted, and an
  equal one was used.
- Reserved credits count towards the budget, since any job may succeed.

All else that looks wrong is a hint.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby

from crucible_batch.sandbox import exact_json
from crucible_batch.sandbox.gateway import Gateway, Observations
from crucible_batch.sandbox.ledger import EFFECTS, ZERO
from crucible_batch.sandbox.records import Asset, Entry, Job
from crucible_batch.sandbox.verdict import Finding, Kind, Verdict
from crucible_batch.sandbox.workflows import prompt

_KEY_LEAKS = frozenset({"authorization-at-storage", "key-at-storage"})
_PROMPT_LENGTH = 60


def judge(gateway: Gateway) -> Verdict:
    """Judge what was bought since the start, up to now."""
    gateway.world.jobs.settle(gateway.now())
    jobs, assets = list(gateway.world.jobs), list(gateway.world.assets)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in gateway.world.entries:
        sums[entry.entry_type] += entry.amount
    budget, entries = gateway.config.budget, gateway.world.entries
    equal_jobs = _Jobs(jobs, gateway.seen, wanted_once=gateway.config.wanted_once)
    equal_uploads = _Uploads(assets, jobs)
    return Verdict(
        jobs=len(jobs),
        failed=sum(job.error_code is not None for job in jobs),
        charged_for_jobs=sums["consume"],
        charged_for_uploads=sums["upload"] - sums["rebate"],
        reserved=sums["reserve"] - sums["consume"] - sums["refund"],
        most=max((gone for _, gone in spending(entries)), default=ZERO),
        budget=budget,
        struck=gateway.faults.fired.total(),
        faults=(
            *equal_jobs.faults(),
            *equal_uploads.faults(),
            *_over(budget, entries),
            *_leaks(gateway.seen),
        ),
        hints=(*equal_jobs.hints(), *equal_uploads.hints(), *_habits(gateway, jobs)),
    )


def spending(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Decimal]]:
    """Yield each row of the ledger with what is charged and reserved after it."""
    gone = ZERO
    for entry in entries:
        if entry.entry_type != "grant":
            on_balance, on_reserved = EFFECTS[entry.entry_type]
            gone += (on_reserved - on_balance) * entry.amount
        yield entry, gone


def _over(budget: Decimal | None, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield one finding for each time that the budget was exceeded, from its first row on."""
    if budget is None:
        return
    rows = list(spending(entries))
    for is_over, group in groupby(rows, key=lambda row: row[1] > budget):
        if is_over:
            stretch = list(group)
            first, most = stretch[0][0], max(gone for _, gone in stretch)
            yield Finding(
                "over-budget",
                f"{most} credits were charged or reserved at the same time; the budget is {budget}",
                most - budget,
                (f"since {first.entry_type} of {first.amount} for {_subject(first)}",),
            )


def _subject(entry: Entry) -> str:
    if entry.job_id is not None:
        return f"job {entry.job_id}"
    return f"asset {entry.asset_id}"


def _leaks(seen: Observations) -> Iterator[Finding]:
    for violation in seen.violations:
        if violation.kind in _KEY_LEAKS:
            yield Finding("key-at-storage", violation.detail)


class _Jobs:
    """Jobs that were paid for, or will be, in groups of equal ones.

    Equal are jobs of one account with the same workflow, parameters and bytes of the input image.
    """

    def __init__(self, jobs: Iterable[Job], seen: Observations, *, wanted_once: bool) -> None:
        self._seen = seen
        self._wanted_once = wanted_once
        self._groups: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            if job.error_code is None:
                self._groups[_content(job)].append(job)

    def faults(self) -> Iterator[Finding]:
        for group in self._groups.values():
            wasted = self._wasted(group)
            if wasted:
                credits = sum((job.price for job in wasted), ZERO)
                yield self._finding("bought-twice", group, credits)

    def hints(self) -> Iterator[Finding]:
        for group in self._groups.values():
            wasted = self._wasted(group)
            if len(group) > 1 and not wasted:
                yield self._finding("equal-jobs", group, ZERO)
        lost = [
            job
            for group in self._groups.values()
            if not self._wasted(group)
            for job in group
            if job.job_id not in self._seen.downloaded
        ]
        if lost:
            yield Finding(
                "not-downloaded",
                f"{len(lost)} jobs were paid for, and none of their outputs was downloaded",
                sum((job.price for job in lost), ZERO),
                tuple(map(self._line, lost)),
            )

    def _wasted(self, group: Sequence[Job]) -> list[Job]:
        if self._wanted_once:
            return list(group[1:])
        wasted = []
        for known in (self._seen.answered, self._seen.downloaded):
            if any(job.job_id in known for job in group):
                wasted += [job for job in group if job.job_id not in known]
        return list({job.job_id: job for job in wasted}.values())

    def _finding(self, kind: Kind, group: Sequence[Job], credits: Decimal) -> Finding:
        first = group[0]
        words = prompt(first.params)
        if len(words) > _PROMPT_LENGTH:
            words = f"{words[:_PROMPT_LENGTH]}..."
        downloaded = sum(job.job_id in self._seen.downloaded for job in group)
        text = f'{first.workflow_id} "{words}": bought {len(group)} times, downloaded {downloaded}'
        return Finding(kind, text, credits, tuple(map(self._line, group)))

    def _line(self, job: Job) -> str:
        parts = [f"job {job.job_id}", "without a key"]
        if job.idempotency_key is not None:
            parts[1] = f"key {job.idempotency_key}"
        if job.job_id not in self._seen.answered:
            parts.append("its id never reached the client")
        if job.job_id not in self._seen.downloaded:
            parts.append("never downloaded")
        return ", ".join(parts)


def _content(job: Job) -> str:
    params = dict(job.params)
    if job.source_sha256 is not None:
        params["image.image"] = job.source_sha256
    return exact_json.dumps([job.account_id, job.workflow_id, params], sort_keys=True)


class _Uploads:
    """Uploads that were paid for and not given back."""

    def __init__(self, assets: Iterable[Asset], jobs: Iterable[Job]) -> None:
        used = {str(job.params.get("image.image")).lower() for job in jobs}
        kept = [asset for asset in assets if asset.charged and asset.deleted_at is None]
        self._used = [asset for asset in kept if asset.asset_id in used]
        self._unused = [asset for asset in kept if asset.asset_id not in used]

    def faults(self) -> Iterator[Finding]:
        for asset in self._unused:
            if self._has_a_used_equal(asset):
                yield Finding(
                    "uploaded-twice",
                    f"{_name(asset)}: paid for again, used by no job and not deleted",
                    asset.charged,
                    (f"asset {asset.asset_id}",),
                )

    def hints(self) -> Iterator[Finding]:
        idle = [asset for asset in self._unused if not self._has_a_used_equal(asset)]
        if idle:
            yield Finding(
                "not-used",
                f"{len(idle)} uploads were paid for, used by no job and not deleted",
                sum((asset.charged for asset in idle), ZERO),
                tuple(f"asset {asset.asset_id}, {_name(asset)}" for asset in idle),
            )
        groups: dict[tuple[object, ...], list[Asset]] = defaultdict(list)
        for asset in self._used:
            groups[_bytes(asset)].append(asset)
        for group in groups.values():
            if len(group) > 1:
                yield Finding(
                    "equal-uploads",
                    f"{_name(group[0])}: the same bytes were uploaded {len(group)} times",
                    sum((asset.charged for asset in group[1:]), ZERO),
                    tuple(f"asset {asset.asset_id}" for asset in group),
                )

    def _has_a_used_equal(self, asset: Asset) -> bool:
        """Compare the bytes, or what was declared where none arrived."""
        same = _bytes
        if asset.upload is None:
            same = _declaration
        return any(same(asset) == same(other) for other in self._used)


def _bytes(asset: Asset) -> tuple[object, ...]:
    sha256 = None
    if asset.upload is not None:
        sha256 = asset.upload.sha256
    return asset.account_id, sha256


def _declaration(asset: Asset) -> tuple[object, ...]:
    return asset.account_id, asset.mime_type, asset.byte_size, asset.filename


def _name(asset: Asset) -> str:
    return f'"{asset.filename or asset.mime_type}" ({asset.byte_size} bytes)'


def _habits(gateway: Gateway, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Yield what is risky, and what is not finished."""
    seen, now = gateway.seen, gateway.now()
    under_way = sum(job.status(now) in {"queued", "running"} for job in jobs)
    if under_way:
        yield Finding("not-ended", f"{under_way} jobs had not ended when the judge looked")
    if seen.keyless_posts:
        yield Finding(
            "no-key",
            f"{seen.keyless_posts} submits had no idempotency key: none can be repeated safely",
        )
    if seen.keys_of_other_jobs:
        yield Finding(
            "key-of-another-job",
            f"{seen.keys_of_other_jobs} submits had the key of another job and were refused",
        )
    others = [violation for violation in seen.violations if violation.kind not in _KEY_LEAKS]
    if others:
        yield Finding(
            "bad-request",
            f"{len(others)} requests to the storage were not as the contract asks",
            details=tuple(f"{each.kind}: {each.detail}" for each in others),
        )
