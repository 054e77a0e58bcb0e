"""A second judge of a play, by another hand than the simulation and its first judge.

It was written from the gateway's contract and the pages of ``docs/`` alone, uses no code of the
product, and reads only ``Evidence``: the gateway's ledger and jobs, what processes sent, and the
files in the run directory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from tests.verification.fleet.evidence import Evidence, Generation

_NOTHING = Decimal(0)
_SUCCEEDED, _SOME_FAILED, _NO_CREDITS = 0, 1, 4
"""The exit codes of ``docs/exit-codes.md`` with which a run has ended for good."""
_SHARD_DIRECTORY = re.compile(r"(\d+)-of-(\d+)")
_Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Wave:
    """A divided plan: the allowance of each shard, the shard of each job, and the report of each
    shard.
    """

    digest: str
    allowances: Mapping[int, Decimal]
    shard_of: Mapping[str, int]
    reports: Mapping[int, _Report]


def contract_broken(evidence: Evidence) -> list[str]:
    """Return what does not hold of a play, each as a sentence."""
    case = _Case(evidence)
    checks = (
        case.purchases,
        case.budget,
        case.attempts,
        case.names,
        case.totals,
        case.rows,
        case.pictures,
        case.files,
        case.ending,
        case.waves,
        case.allowances,
        case.owners,
    )
    if evidence.stored_at:  # ``store_judge.py`` has the shards of an object store
        checks = tuple(check for check in checks if check not in (case.waves, case.allowances))
    return [text for check in checks for text in list(check())[:5]]


class _Case:
    def __init__(self, evidence: Evidence) -> None:
        self._seen = evidence
        self._charges = sorted(evidence.ledger, key=lambda row: row.at)
        self._by_prompt: dict[str, list[Generation]] = defaultdict(list)
        for each in sorted(evidence.generations, key=lambda each: each.accepted_at):
            self._by_prompt[each.prompt].append(each)

    @cached_property
    def _report(self) -> _Report:
        return _json(self._seen.run_dir / "report.json")

    @cached_property
    def _prompts(self) -> list[str]:
        """The prompts of the manifest's jobs, in order."""
        text = self._seen.manifest.read_text(encoding="utf-8")
        found = re.search(r"matrix: \{n: \[([\d, ]+)\]\}", text)
        assert found is not None
        assert 'prompt: "picture {{ n }}"' in text
        return [f"picture {number.strip()}" for number in found[1].split(",")]

    # -- the gateway's books

    def purchases(self) -> Iterator[str]:
        """Each key is accepted once, and each accepted job is charged once and ends once, at the
        price it had."""
        for key, count in Counter(each.key for each in self._seen.generations).items():
            if key is None or count > 1:
                yield f"the gateway accepted {count} jobs under the key {key}"
        sent = {each.key for each in self._seen.submits}
        rows: dict[str | None, list[tuple[str, Decimal]]] = defaultdict(list)
        for row in self._charges:
            if row.entry_type != "grant":
                rows[row.job_id].append((row.entry_type, row.amount))
        for each in self._seen.generations:
            end = "refund" if each.has_failed else "consume"
            if rows.pop(each.job_id, None) != [("reserve", each.credits), (end, each.credits)]:
                yield (
                    f"the rows of job {each.job_id} are not a reserve and a {end} of {each.credits}"
                )
            if each.key not in sent:
                yield f"no process has sent the key {each.key}, which the gateway has accepted"
        if rows:
            yield f"the ledger has rows of other jobs: {dict(rows)}"

    def _levels(self, job_ids: set[str]) -> Iterator[tuple[float, Decimal]]:
        """Yield what is reserved or consumed by these jobs, with the time of each row."""
        level = _NOTHING
        for row in self._charges:
            if row.job_id in job_ids:
                level += {"reserve": row.amount, "refund": -row.amount}.get(
                    row.entry_type, _NOTHING
                )
                yield row.at, level

    def budget(self) -> Iterator[str]:
        """The budget holds at each row, in the order of time."""
        for at, level in self._levels({each.job_id for each in self._seen.generations}):
            if level > self._seen.budget:
                yield (
                    f"{level} of {self._seen.budget} credits are gone "
                    f"at {at - self._seen.began:.1f} s"
                )

    def attempts(self) -> Iterator[str]:
        """A job is bought again only once its attempt before has failed, and not more often than is
        allowed."""
        for prompt, tries in self._by_prompt.items():
            for before, after in pairwise(tries):
                if not before.has_failed or before.ended_at > after.accepted_at:
                    yield f"{prompt!r} was bought again although its attempt before had not failed"
            if len(tries) > self._seen.attempts:
                yield f"{prompt!r} was bought {len(tries)} times; {self._seen.attempts} are allowed"
            if prompt not in self._prompts:
                yield f"{prompt!r} was bought and is not in the manifest"

    # -- the report

    def names(self) -> Iterator[str]:
        """The report has each job of the manifest, once and in order."""
        rows = self._report["jobs"]
        if (told := [row["prompt"] for row in rows]) != self._prompts:
            missing, double = sorted(set(self._prompts) - set(told)), len(told) - len(set(told))
            yield (
                f"the report has {len(told)} of {len(self._prompts)} jobs; "
                f"it lacks {missing}, {double} are double"
            )
        for field in ("name", "job_id", "idempotency_key"):
            values = [row[field] for row in rows if row[field] is not None]
            if len(set(values)) != len(values):
                yield f"two jobs of the report have the same {field}"

    def totals(self) -> Iterator[str]:
        """The totals of the report are those of the ledger."""
        sums: Counter[str] = Counter()
        for row in self._charges:
            sums[row.entry_type] += row.amount  # type: ignore[assignment]
        told = self._report["credits"]
        expected = {
            "budget": self._seen.budget,
            "spent": Decimal(sums["consume"]),
            "jobs": Decimal(sums["consume"]),
            "refunded": Decimal(sums["refund"]),
            "held": _NOTHING,
            "uploads": _NOTHING,
            "rebates": _NOTHING,
            "over_budget": _NOTHING,
        }
        for name, credits in expected.items():
            if Decimal(told[name]) != credits:
                yield f"the report says {told[name]} {name}, the ledger {credits}"
        counted = Counter(row["status"] for row in self._report["jobs"])
        counts = {
            name: self._report["counts"][name]
            for name in ("succeeded", "failed", "blocked", "pending", "unknown")
        }
        if {name: count for name, count in counts.items() if count} != dict(counted):
            yield f"the report counts {counts}; its rows are {dict(counted)}"

    def rows(self) -> Iterator[str]:
        """Each row tells what became of its job at the gateway."""
        for row in self._report["jobs"]:
            tries = self._by_prompt.get(row["prompt"], [])
            told = [
                (each["idempotency_key"], each["job_id"])
                for each in row["attempts"]
                if each["job_id"]
            ]
            if told != [(each.key, each.job_id) for each in tries]:
                yield f"{row['name']} has the attempts {told}; the gateway had {len(tries)}"
            paid = sum((each.credits for each in tries if not each.has_failed), _NOTHING)
            if Decimal(row["credits"]) != paid:
                yield f"{row['name']} cost {row['credits']} by the report, and {paid} by the ledger"
            if (reason := self._wrong_status(row, tries)) is not None:
                yield f"{row['name']} is {row['status']}: {reason}"

    def _wrong_status(self, row: _Report, tries: Sequence[Generation]) -> str | None:
        is_done = bool(tries) and not tries[-1].has_failed
        match row["status"]:
            case "succeeded":
                return None if is_done else "no job of it has succeeded at the gateway"
            case "failed" if is_done:
                return "it has succeeded at the gateway"
            case "failed":
                return (
                    None
                    if len(tries) == self._seen.attempts
                    else f"after {len(tries)} of its attempts"
                )
            case "blocked" if is_done:
                return "it was bought"
            case "blocked":  # also before its next attempt: what the failed ones cost was refunded
                return (
                    None
                    if len(tries) < self._seen.attempts
                    else f"after {len(tries)} of its attempts"
                )
            case _:
                return "the weather was calm at the end"

    def pictures(self) -> Iterator[str]:
        """Each output is the picture that the gateway made for this very job."""
        paths = [output["path"] for row in self._report["jobs"] for output in row["outputs"]]
        if len(set(paths)) != len(paths):
            yield "two outputs have the same path"
        for row in self._report["jobs"]:
            if bool(row["outputs"]) != (row["status"] == "succeeded"):
                yield f"{row['name']} is {row['status']} and has {len(row['outputs'])} outputs"
            for output in row["outputs"]:
                file = self._seen.run_dir / output["path"]
                if not file.is_file():
                    yield f"{output['path']} is not there"
                elif _colour_of(file) != _colour_made(row["job_id"], output["index"]):
                    yield f"{output['path']} is not the picture of job {row['job_id']}"
                elif hashlib.sha256(file.read_bytes()).hexdigest() != output["sha256"]:
                    yield f"{output['path']} has another digest than the report says"

    def files(self) -> Iterator[str]:
        """The run directory has the outputs, their sidecars, the report and the receipts, and
        nothing else."""
        known = {output["path"] for row in self._report["jobs"] for output in row["outputs"]}
        known |= {f"{path}.json" for path in known} | {"report.json", "receipts.jsonl"}
        for file in sorted(self._seen.run_dir.rglob("*")):
            path = file.relative_to(self._seen.run_dir)
            if (
                file.is_file()
                and path.parts[0] not in (".crucible", "shards")
                and str(path) not in known
            ):
                yield f"{path} is left in the run directory"

    def ending(self) -> Iterator[str]:
        """The exit code is that of the report, by the table of ``docs/exit-codes.md``; blocked jobs
        lack credits."""
        statuses = {row["status"] for row in self._report["jobs"]}
        code = (
            _NO_CREDITS
            if "blocked" in statuses
            else _SOME_FAILED
            if "failed" in statuses
            else _SUCCEEDED
        )
        if not self._seen.endings or self._seen.endings[-1] != code:
            yield f"the run has ended with {self._seen.endings}; its jobs call for {code}"

    # -- shards

    @cached_property
    def _waves(self) -> list[_Wave]:
        return [_wave(plan, self._seen.state or self._seen.run_dir) for plan in self._seen.plans]

    def waves(self) -> Iterator[str]:
        """The jobs of a wave are each in one shard, and each shard was run to its end."""
        for wave in self._waves:
            for number in wave.allowances:
                report = wave.reports.get(number)
                name = f"shard {number} of wave {wave.digest}"
                if report is None:
                    yield f"{name} has no report"
                    continue
                told = Counter(row["name"] for row in report["jobs"])
                planned = Counter(job for job, shard in wave.shard_of.items() if shard == number)
                if told != planned:
                    yield f"{name} reports {sorted(told)}; {sorted(planned)} are its jobs"
                if report["status"] == "interrupted" or report["exit_code"] in (130, 143):
                    yield f"{name} was stopped, and nobody has finished it"

    def allowances(self) -> Iterator[str]:
        """No shard exceeds its allowance; all allowances of a wave fit into what the budget had
        left."""
        for wave in self._waves:
            if not wave.reports:
                continue
            begins: list[float] = []
            for number, report in wave.reports.items():
                job_ids = {each["job_id"] for row in report["jobs"] for each in row["attempts"]}
                for at, level in self._levels(job_ids):
                    begins.append(at)
                    if level > wave.allowances[number]:
                        yield (
                            f"shard {number} of wave {wave.digest} took {level} "
                            f"of {wave.allowances[number]}"
                        )
            everything = {each.job_id for each in self._seen.generations}
            before = [
                level for at, level in self._levels(everything) if at < min(begins, default=0.0)
            ]
            aside = sum(wave.allowances.values(), _NOTHING)
            if (before[-1] if before else _NOTHING) + aside > self._seen.budget:
                yield (
                    f"{aside} are set aside for wave {wave.digest}, "
                    f"and {before[-1:]} were gone before"
                )

    def owners(self) -> Iterator[str]:
        """A process that runs a shard sends keys only for the jobs of this shard."""
        shard_of = {wave.digest: wave.shard_of for wave in self._waves}
        names = {row["prompt"]: row["name"] for row in self._report["jobs"]}
        for submit in self._seen.submits:
            if (own := self._seen.shards.get(submit.process)) is None:
                continue  # it ran the manifest, once the shards were merged
            if shard_of.get(own[0], {}).get(names.get(submit.prompt, "")) != own[1]:
                yield f"{submit.process} sent {submit.prompt!r}, which is not in its shard {own}"


def _wave(file: Path, state: Path) -> _Wave:
    plan = _json(file)
    folders = state.glob(f"**/shards/{plan['digest'][:8]}/*-of-*")
    numbers = {path: _SHARD_DIRECTORY.fullmatch(path.name) for path in folders}
    return _Wave(
        digest=plan["digest"],
        allowances={each["number"]: Decimal(each["allowance"]) for each in plan["shards"]},
        shard_of={
            row["name"]: row["shard"] for row in plan["jobs"] if row.get("shard") is not None
        },
        reports={
            int(found[1]): _json(path / "report.json")
            for path, found in numbers.items()
            if found is not None and (path / "report.json").is_file()
        },
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _colour_of(file: Path) -> tuple[int, ...]:
    with Image.open(file) as image:
        return tuple(image.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]


def _colour_made(job_id: str, index: int) -> tuple[int, ...]:
    """The colour in which the gateway of a play draws an output: see ``plain_picture``."""
    return tuple(hashlib.sha256(f"{job_id} {index}".encode()).digest()[:3])
