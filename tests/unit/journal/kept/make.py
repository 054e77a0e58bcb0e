"""Make the journal that a release leaves behind, for later ones to read: ``python -m
tests.unit.journal.kept.make``.

Run once for a release, never again for that one: what stands under its name is what users have on
their disks. Two directories are kept: one whose run ended with every kind of job in it, one that
was killed with jobs in flight.
"""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path

import httpx
from PIL import Image

import crucible_batch
import crucible_batch as api
from crucible_batch.core.events import Accepted
from crucible_batch.core.progress import JobAdvanced
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.journal import Journal
from crucible_batch.sandbox import SandboxConfig, parse_faults, serve
from crucible_batch.settings import Settings

KEPT = Path(__file__).parent
MANIFEST = """\
version: 1
name: kept
workflow: zimage-base
params: {size.width: 64, size.height: 64}
budget: {credits: 60, max_credits_per_job: 6}
retry: {attempts: 2, never: [NEVER_THIS]}
jobs:
  - {name: plain, prompt: a lighthouse}
  - {name: style, prompt: "{{ style }} harbour", matrix: {style: [noir, "1920s"]}, repeat: 2}
  - {name: edit, prompt: on marble, workflow: qwen-edit, image: teal.png}
  - {name: large, workflow: upscale-2x, image: teal.png}
  - {name: sheet, prompt: four views, workflow: zimage-sheet}
  - {name: more, prompt: "many {{ n }}", matrix: {n: [1, 2, 3, 4, 5, 6]}}
"""


class _StopAt:
    """Cancels the run once so many jobs were accepted: what is in the journal then is what a kill
    leaves.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self.task: asyncio.Task[object] | None = None

    def notify(self, message: object) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Accepted):
            self._left -= 1
            if not self._left and self.task is not None:
                self.task.cancel()


async def make(target: Path) -> None:
    """Write both directories below ``target``."""
    faults = "generate.fail:0.2,asset-create.drop-after=1,generate.drop-after=2"
    config = SandboxConfig(
        accounts={"moltazine_sandbox": Decimal(1000)}, faults=parse_faults(faults), seed=7
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "kept.yaml").write_text(MANIFEST)
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
        (folder / "teal.png").write_bytes(picture.getvalue())
        async with serve(config) as gateway, httpx.AsyncClient(trust_env=False):
            settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url)
            await api.run(folder / "kept.yaml", out_dir=folder / "ended", settings=settings)
            stop = _StopAt(8)
            stop.task = asyncio.ensure_future(
                api.run(
                    folder / "kept.yaml",
                    out_dir=folder / "killed",
                    run_id="killed",
                    settings=settings,
                    observer=stop,
                )
            )
            await asyncio.wait([stop.task])
        for name in ("ended", "killed"):
            keep(folder / name, target / name)


def keep(run_dir: Path, target: Path) -> None:
    """Keep a journal in one file, and beside it what this release makes of it."""
    target.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3") as source:
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(run_dir / ".crucible" / "journal.sqlite3", target / "journal.sqlite3")
    (target / "understood.json").write_text(json.dumps(understood(run_dir), indent=1) + "\n")


def understood(run_dir: Path) -> dict[str, object]:
    """What a journal means: where each job stands and under which keys, and what was spent and
    held.
    """
    with Journal.read(run_dir) as journal:
        terms = journal.runs()[-1].terms
        jobs = [
            {
                "name": planned.name,
                "identity": planned.identity,
                "phase": job.phase.value,
                "attempts": [
                    [attempt.number, attempt.key, attempt.status.value, attempt.job_id]
                    for attempt in job.attempts
                ],
                "next_key": job.key,
                "outputs": [saved.sha256 for _, saved in sorted(job.outputs.items())],
            }
            for planned, job in journal.jobs(RetryRule(terms.attempts, terms.never))
        ]
    books = api.read_status(run_dir).report.credits
    figures = {
        name: str(getattr(books, name))
        for name in ("budget", "spent", "held", "jobs", "uploads", "rebates", "refunded")
    }
    return {"jobs": jobs, "credits": figures}


if __name__ == "__main__":
    release = KEPT / crucible_batch.__version__
    if release.exists():
        raise SystemExit(f"{release} stands already, and is for ever")
    asyncio.run(make(release))
