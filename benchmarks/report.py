"""Reports: how long ``report.json`` takes for ten thousand jobs, and how large ``report.html``
gets.

The run directory is written as a run leaves it, in the journal and with pictures of noise, which
compress worst; forty of them serve all jobs, so that most of the time is the report's own. The
floor is ``json.dump`` of the same rows.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from PIL import Image

from benchmarks.memory import planned, terms
from benchmarks.row import Row
from crucible_batch.core.events import Accepted, Event, Held, Saved, Succeeded
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.reporting import (
    journal_rows,
    thumbnails_of,
    write_page_of,
    write_report_of,
)

SMALL, LARGE = 1_000, 10_000
_JSON_BOUND_S, _PAGE_BOUND_MB = 2.0, 25.0
_WHY = (
    "the events of each job are read from the journal and replayed, 0.1 ms of CPU; "
    "the rows of all jobs are validated by pydantic and written one by one, to limit memory. "
    "The goal is in seconds and not a ratio, so a busy or slow machine misses it earlier"
)
_PICTURES, _SIDE = 40, 512
_BEGAN = 1_800_000_000.0


def pictures(directory: Path, count: int = 0, side: int = 0) -> list[Saved]:
    """Save pictures of noise, and return what the journal says of each."""
    count, side = count or _PICTURES, side or _SIDE
    found: list[Saved] = []
    for number in range(count):
        path = directory / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        noise = Image.merge(
            "RGB", [Image.effect_noise((side, side), 90 + number + band) for band in range(3)]
        )
        noise.save(path, compress_level=1)
        found.append(
            Saved(
                at=_BEGAN + 3,
                index=0,
                path=path.relative_to(directory).as_posix(),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                byte_size=path.stat().st_size,
                mime_type="image/png",
                width=side,
                height=side,
            )
        )
    return found


def story(job: PlannedJob, saved: Sequence[Saved]) -> tuple[str, Sequence[Event]]:
    """Tell the story of a job that went well."""
    key = idempotency_key(job.identity, 1)
    began = _BEGAN + job.position * 0.01
    return job.identity, (
        Held(
            at=began,
            attempt=1,
            key=key,
            credits=Decimal(1),
            price_class=f"workflow:{job.workflow_id}",
        ),
        Accepted(at=began + 0.1, job_id=key, credits=Decimal(1), reused=False),
        Succeeded(at=began + 2, outputs=1),
        saved[job.position % len(saved)],
    )


def filled(journal: Journal, saved: Sequence[Saved], jobs: int) -> None:
    """Have the journal tell of so many jobs, which have these outputs in turns."""
    with PlanFile.temporary() as plan:
        plan.fill(planned(jobs))
        journal.adopt(plan)
    run = journal.begin_run(terms(), now=_BEGAN)
    journal.restore(story(job, saved) for job in planned(jobs))
    journal.end_run(run, Ending(RunStatus.SUCCEEDED, 0), now=_BEGAN + 3600)


def measured(jobs: int) -> tuple[float, float, float, int]:
    """Return the seconds of ``report.json`` and of the floor, the size of ``report.html`` in MB,
    and its thumbnails."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with Journal.open(directory, Binding("m", "r", "g"), now=_BEGAN) as journal:
            filled(journal, pictures(directory), jobs)
            began = time.process_time()
            head = write_report_of(journal, directory)
            json_s = time.process_time() - began
            thumbnails = thumbnails_of(OutputStore(directory), journal)
            page = write_page_of(journal, directory, head, journal_rows(journal), thumbnails)
        report = json.loads((directory / "report.json").read_text())
        began = time.process_time()
        with (directory / "floor.json").open("w") as file:
            json.dump(report, file)
        floor_s = time.process_time() - began
        beside = (
            len(list((directory / "thumbnails").glob("*")))
            if (directory / "thumbnails").exists()
            else 0
        )
        return json_s, floor_s, page.stat().st_size / 1e6, beside


def rows(quick: bool) -> Iterator[Row]:
    """Report on a thousand jobs, whose page holds its pictures, and on ten thousand, whose page has
    them beside it."""
    _, _, page_mb, beside = measured(SMALL)
    note = f"pictures of noise, {_SIDE} x {_SIDE}; {beside} thumbnails beside it"
    yield Row(
        f"report.html of {SMALL:,} jobs",
        f"< {_PAGE_BOUND_MB:.0f} MB",
        f"{page_mb:.1f} MB",
        page_mb < _PAGE_BOUND_MB,
        note,
    )
    jobs = SMALL if quick else LARGE
    bound_s = _JSON_BOUND_S * jobs / LARGE
    json_s, floor_s, page_mb, beside = measured(jobs)
    note = f"CPU time; json.dump of the same data, already in memory: {floor_s:.2f} s"
    yield Row(
        f"report.json of {jobs:,} jobs",
        f"< {bound_s:.1f} s",
        f"{json_s:.2f} s",
        json_s < bound_s,
        note,
        _WHY,
    )
    if not quick:
        yield Row(
            f"report.html of {jobs:,} jobs", "thumbnails beside it", f"{page_mb:.1f} MB",
            beside == _PICTURES,
            f"{beside} thumbnails in the folder, one for each distinct picture",
        )  # fmt: skip


if __name__ == "__main__":
    print(*rows("--quick" in sys.argv), sep="\n")
