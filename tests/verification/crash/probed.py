"""Kill ``plan --probe`` at its effects: the same command goes on, and buys and uploads nothing twice.

    python -m tests.verification.crash.probed --trials 40   a kill at each of so many places; 0: at all of them

Prints one JSON object, with what was found.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

from crucible_batch.domain.events import Event, Held, HoldReleased
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.prices import PriceBook
from crucible_batch.engine.listed_assets import ListedAssets
from crucible_batch.engine.runner import ImagePreparer
from crucible_batch.journal import Journal
from tests.verification.crash.children import Ended, get_ready, start_command
from tests.verification.crash.failpoints import Strike
from tests.verification.crash.judge import ask
from tests.verification.crash.scenes import Scene, Want
from tests.verification.crash.trials import Trial, staged

SHARDS = 2
SHAPES = 2
COMMAND = ("plan", "m.yaml", "--out-dir", "out", "--shards", str(SHARDS), "--probe", "-o", "plan.json", "-q")


def scene() -> Scene:
    """Two kinds of jobs, and three images of which one is needed twice."""
    images = ("a.png", "b.png", "c.png", "a.png")
    edits = (Want(f"edit {number}", "qwen-edit", image=image) for number, image in enumerate(images))
    return Scene(
        wants=(Want("text", count=3), *edits),
        concurrency=3,
        faults="",
        spare=Decimal(200),
        ceiling=Decimal(10),
        upload_ceiling=Decimal(1),
    )


def probe(trial: Trial, strike: Strike | None = None) -> Ended:
    return trial.end(start_command(COMMAND, trial.folder, trial.environment, strike, trial.plant))


def findings(trial: Trial, last: Ended) -> Iterator[str]:
    """Judge what the gateway and the journal have once the command has ended by itself."""
    if last.code != 0 or not (trial.folder / "plan.json").exists():
        log = max(trial.folder.glob("log-*"), key=lambda path: path.stat().st_mtime)
        yield f"the command ended with {last.code}: {log.read_text()[-300:]}"
        return
    state = ask(trial.sandbox.url)
    keys = Counter(job["idempotency_key"] for job in state["jobs"])
    if len(keys) != SHAPES or set(keys.values()) != {1}:
        yield f"{len(state['jobs'])} jobs were bought under {len(keys)} keys"
    there = Counter(asset["metadata"]["cb_sha256"] for asset in state["assets"] if asset["deleted_at"] is None)
    if dict(there) != dict.fromkeys(trial.scene.digests, 1):
        yield f"the images are at the gateway so often: {sorted(there.values())}"
    taken = 10_000 - Decimal(str(state["audit"]["available"]))
    with Journal.read(trial.run_dir) as journal:
        terms = journal.runs()[-1].terms
        ledger = Ledger(PriceBook.of(terms))
        holds: dict[str, Event] = {}
        for subject, event in journal.events():
            ledger.apply(subject, event)
            if isinstance(event, Held | HoldReleased):
                holds[subject] = event
    if ledger.held != ledger.held_for_uploads:
        yield f"{ledger.held - ledger.held_for_uploads} credits are held for jobs that were not submitted"
    if not taken <= ledger.committed <= (terms.budget or 0):
        yield f"{taken} credits were taken, {ledger.committed} are in the books, of {terms.budget}"


def plant_upload_twice() -> None:
    """The list that has what was uploaded is never looked at, and an upload in doubt is taken for lost."""
    from tests.verification.crash import plants

    plants._lost_intents_forgotten()
    ListedAssets.has = lambda _self, _image: False  # type: ignore[method-assign]


def plant_submitted() -> None:
    """A job whose images are made ready is submitted."""

    async def all_the_way(self: ImagePreparer, job: Any, command: Any) -> Any:
        return await self._worker.perform(job, command)

    ImagePreparer.perform = all_the_way  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "upload-twice": plant_upload_twice,
    "submitted": plant_submitted,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant", choices=PLANTS, default="none")
    options = parser.parse_args()
    plant = PLANTS[options.plant]
    get_ready()
    found: list[str] = []
    with staged(scene(), plant) as trial:
        undisturbed = probe(trial)
        found += findings(trial, undisturbed)
    places = list(range(1, len(undisturbed.trace) + 1))
    if options.trials:
        places = sorted(Random(options.seed).sample(places, min(options.trials, len(places))))
    kills = 0
    for place in places if options.plant in {"none", "upload-twice"} else ():
        with staged(scene(), plant) as trial:
            probe(trial, Strike(signal.SIGKILL, place))
            kills += trial.kills
            found += (f"{trial.struck}: {each}" for each in findings(trial, probe(trial)))
    print(json.dumps({"places": len(undisturbed.trace), "trials": len(places), "kills": kills, "findings": found}))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
