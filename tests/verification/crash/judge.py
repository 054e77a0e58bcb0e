"""The judge: holds what a sandbox saw against what a scene asks for, and the run directory against
both.

It believes nothing that the product says of itself. Jobs are counted by their prompts, not by their
keys, so that a purchase under a fresh key shows.
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.records import Job
from tests.harness.sandbox_audit import with_audit
from tests.verification.crash.children import draw
from tests.verification.crash.scenes import (
    ATTEMPTS,
    OUTPUTS,
    UPLOAD_BOUND,
    UPLOAD_PRICE,
    Scene,
    Want,
)

PURCHASES = ("generate", "asset-create", "asset-delete", "upload", "download")
_THUMBNAIL = re.compile(r"[0-9a-f]{40}-\d+")
_JOBS = TypeAdapter(list[Job])
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Finding:
    """Something that must not be. ``kind`` is a column of the figures."""

    kind: str
    text: str


@dataclass(frozen=True)
class Past:
    """What happened before the last run: how often a run was killed, whether what it knew was lost,
    and how many intents may have arrived after they were given up. Those are held in the books for
    good, and named as lost."""

    kills: int = 0
    state_lost: bool = False
    late: int = 0


def ask(url: str) -> Any:
    """Read all that a sandbox knows, and what its own judge says."""
    verdict = _read(f"{url}/_sandbox/verdict")
    return {**with_audit(_read(f"{url}/_sandbox/state")), "verdict": verdict}


def _read(url: str) -> Any:
    with _OPENER.open(url) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def judge(scene: Scene, past: Past, run_dir: Path, code: int, state: Any) -> Iterator[Finding]:
    """Yield all that is wrong after a run that was to end its scene."""
    undone = [job for job in _rows(run_dir) if job["status"] != "succeeded"]
    if code != (1 if undone else 0):
        why = "; ".join(f"{job.get('id')} is {job['status']}: {job.get('error')}" for job in undone)
        yield Finding("unfinished", f"the last run ended with {code}: {why}")
        return
    report = json.loads((run_dir / "report.json").read_text())
    yield from _conduct(state)
    yield from _purchases(scene, state)
    yield from _outputs(scene, report, run_dir, state)
    yield from _uploads(scene, past, report, state)
    yield from _money(scene, past, report, state)
    yield from _leftovers(report, run_dir)


def asks_for_an_upload_ceiling(run_dir: Path) -> bool:
    """Whether a run stopped because it lost the answers of uploads before any of them had named a
    price."""
    return any(
        "max_credits_per_upload" in ((row.get("error") or {}).get("hint") or "")
        for row in _rows(run_dir)
    )


def _rows(run_dir: Path) -> list[Any]:
    try:
        return list(json.loads((run_dir / "report.json").read_text())["jobs"])
    except (OSError, ValueError):
        return [{"status": "no report"}]


def _conduct(state: Any) -> Iterator[Finding]:
    for what in (*state["audit"]["problems"], *state["violations"]):
        yield Finding("conduct", str(what))
    if state["keyless_posts"]:
        yield Finding("conduct", f"{state['keyless_posts']} submits had no key")


def _purchases(scene: Scene, state: Any) -> Iterator[Finding]:
    statuses: dict[str, Counter[str]] = defaultdict(Counter)
    for job in state["jobs"]:
        statuses[job["prompt"]][job["status"]] += 1
    for fault in state["verdict"]["faults"]:
        if fault["kind"] == "bought-twice":
            yield Finding("double charges", f"{fault['text']}: {fault['details']}")
    for prompt in statuses.keys() - {want.prompt for want in scene.wants}:
        yield Finding("double charges", f"nobody asked for {prompt!r}")
    for want in scene.wants:
        found = statuses[want.prompt]
        succeeded, failed = found["succeeded"], found["failed"]
        if succeeded + failed != found.total():
            yield Finding("unfinished", f"{want.prompt!r} is under way: {dict(found)}")
        if succeeded > want.count:
            yield Finding(
                "double charges", f"{want.prompt!r} was charged {succeeded} times, not {want.count}"
            )
        if not _within_the_rule(want, succeeded, failed):
            yield Finding("attempts", f"{want.prompt!r}: {succeeded} succeeded, {failed} failed")


def _within_the_rule(want: Want, succeeded: int, failed: int) -> bool:
    if want.hopeless:
        return (succeeded, failed) == (0, want.count)
    given_up = want.count - succeeded
    return ATTEMPTS * given_up <= failed <= ATTEMPTS * given_up + (ATTEMPTS - 1) * succeeded


def _outputs(scene: Scene, report: Any, run_dir: Path, state: Any) -> Iterator[Finding]:
    made = {job.job_id: job for job in _JOBS.validate_python(state["jobs"])}
    sources = {hashlib.sha256(content).hexdigest(): content for content in scene.images.values()}
    counted: Counter[str] = Counter()
    for row in report["jobs"]:
        counted[row["prompt"]] += 1
        if row["status"] != "succeeded":
            continue
        job = made[row["job_id"]]
        if len(row["outputs"]) != OUTPUTS[job.workflow_id]:
            yield Finding("lost outputs", f"{row['name']} has {len(row['outputs'])} outputs")
        for output in row["outputs"]:
            content = draw(job, output["index"], sources.get(job.source_sha256 or ""))
            path = run_dir / output["path"]
            if not path.is_file() or path.read_bytes() != content:
                yield Finding("lost outputs", f"{output['path']} is not what the gateway drew")
            if output["sha256"] != hashlib.sha256(content).hexdigest():
                yield Finding("lost outputs", f"the report has another digest for {output['path']}")
    if counted != Counter({want.prompt: want.count for want in scene.wants}):
        yield Finding("lost outputs", f"the report has other jobs than the manifest: {counted}")
    bought = sum(job["status"] == "succeeded" for job in state["jobs"])
    if report["counts"]["succeeded"] != bought:
        yield Finding(
            "lost outputs", f"{bought} jobs were paid for, {report['counts']['succeeded']} are here"
        )


def _uploads(scene: Scene, past: Past, report: Any, state: Any) -> Iterator[Finding]:
    """Each image is kept once. A kill may cost another upload of it, which was then given back for
    its rebate.

    What only a lost journal knew of stays: an intent without its bytes, or an image that wasn't
    ready to be found.
    """
    kept = Counter(
        asset["upload"]["sha256"] for asset in state["assets"] if asset["status"] == "ready"
    )
    wanted = Counter(scene.digests)
    if kept != wanted and not (past.state_lost and kept.keys() == wanted.keys()):
        yield Finding("uploads", f"kept are {dict(kept)}")
    extra = sum(asset["status"] != "deleted" for asset in state["assets"]) - len(wanted)
    given_up = min(past.late, report["credits"]["lost_uploads"])
    if extra > (past.kills * len(wanted) if past.state_lost else given_up):
        yield Finding("uploads", f"{extra} assets were neither used nor given back")
    if len(state["assets"]) > (1 + past.kills) * len(wanted):
        yield Finding("uploads", f"{len(state['assets'])} intents for {len(wanted)} images")
    for digest, times in state["uploads"].items():
        if times > 1 + past.kills:
            yield Finding("uploads", f"{digest[:8]} was sent {times} times")


def _money(scene: Scene, past: Past, report: Any, state: Any) -> Iterator[Finding]:
    audit, told = state["audit"], {name: Decimal(text) for name, text in report["credits"].items()}
    peak = state["verdict"]["most"]
    # What was uploaded by a run that nobody remembers was not in this run's books, and can't be.
    unseen = UPLOAD_PRICE * len(state["assets"]) if past.state_lost else 0
    if peak > scene.budget + unseen:
        yield Finding("over budget", f"{peak} were spent or reserved at once, of {scene.budget}")
    if told["jobs"] != audit["spent_on_jobs"]:
        yield Finding(
            "books",
            f"{told['jobs']} for jobs in the report, {audit['spent_on_jobs']} in the ledger",
        )
    if audit["reserved"]:
        yield Finding("books", f"{audit['reserved']} are reserved when all is over")
    lost = report["credits"]["lost_uploads"]
    # A copy that came back may never have seen what an upload costs: then there is nothing to hold.
    is_unpriced = past.state_lost and not told["uploads"]
    most = past.kills * len(scene.images)
    # A refund that came after a kill may have left the list of entries before the next run read it.
    unseen_refunds = (
        told["held_for_refunds"]
        if past.kills and len(state["ledger"]) > SandboxConfig().recent_entries
        else Decimal(0)
    )
    held = told["held"] - unseen_refunds
    if held not in ({Decimal(0)} if is_unpriced else _holds(lost, most - lost)) or lost > most:
        yield Finding("books", f"{told['held']} held, {lost} uploads lost")
    # The rebate of a DELETE whose answer was lost is never seen: the books then show more, and
    # never less.
    rebates = (
        UPLOAD_PRICE * sum(asset["status"] == "deleted" for asset in state["assets"])
        if past.kills
        else 0
    )
    uploads = told["uploads"] - told["rebates"]
    late = UPLOAD_PRICE * min(past.late, lost)
    if (
        not audit["spent_on_uploads"] - unseen - late
        <= uploads
        <= audit["spent_on_uploads"] + rebates
    ):
        yield Finding(
            "books",
            f"{uploads} for uploads in the report, {audit['spent_on_uploads']} in the ledger",
        )


def _holds(lost: int, assumed: int) -> set[Decimal]:
    """What may be held for uploads without a figure, of which at most ``assumed`` were found at the
    gateway.

    Those of before the first price count with that price, the others with their bound.
    """
    beyond = UPLOAD_BOUND - UPLOAD_PRICE
    return {lost * UPLOAD_PRICE + bounded * beyond for bounded in range(lost + max(0, assumed) + 1)}


def _leftovers(report: Any, run_dir: Path) -> Iterator[Finding]:
    """Beside the outputs that the report names there are what says what made each, its thumbnail,
    the journal, its lock, and what lies open at the top."""
    outputs = {output["path"] for job in report["jobs"] for output in job["outputs"]}
    sidecars = {f"{path}.json" for path in outputs}
    for path in sidecars:
        if not (run_dir / path).is_file():
            yield Finding("leftovers", f"{path} is missing")
    named = outputs | sidecars
    named |= {".crucible/journal.sqlite3", ".crucible/lock"}
    for path in run_dir.rglob("*"):
        is_open = path.parent == run_dir and not path.name.startswith(".")
        is_thumbnail = path.parent == run_dir / ".crucible/thumbnails" and _THUMBNAIL.fullmatch(
            path.name
        )
        if (
            path.is_file()
            and not (is_open or is_thumbnail)
            and path.relative_to(run_dir).as_posix() not in named
        ):
            yield Finding("leftovers", str(path.relative_to(run_dir)))


def judge_repeat(before: Any, after: Any, codes: tuple[int, int]) -> Iterator[Finding]:
    """Yield what is wrong with a run that had nothing left to do."""
    if codes[0] != codes[1]:
        yield Finding("unfinished", f"the same command ended with {codes[0]}, then with {codes[1]}")
    if len(before["ledger"]) != len(after["ledger"]):
        yield Finding("double charges", "a run with nothing left to do was charged for")
    for what in PURCHASES:
        if before["requests"].get(what) != after["requests"].get(what):
            yield Finding("conduct", f"a run with nothing left to do asked for {what}")
