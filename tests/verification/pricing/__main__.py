"""A hunt over price worlds: `python -m tests.verification.pricing SECONDS=600 SEED=1`, or one: `SEED=17 COUNT=1`.

Prints the seed and the ledger's story for each breach, and exits 1 if there was one. REFERENCE=1 plays the rule's
shortest client in place of the command: a search for false alarms of the judge. `pace` measures what the rule costs.
"""

import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from tests.verification.pricing import pace
from tests.verification.pricing.scenario import Played, Scenario, play, play_reference, scenario


def one(seed: int, *, reference: bool) -> tuple[Scenario, Played]:
    told = scenario(seed, images=not reference)
    with tempfile.TemporaryDirectory(prefix="pricing-") as folder:
        return told, (play_reference if reference else play)(told, Path(folder) / "bench")


def tell(told: Scenario, played: Played, *, whole: bool) -> None:
    state = "BREACH" if played.problems else "kept"
    print(f"SEED={told.seed}  {state}  budget {told.budget}  {told.ceilings or ''}  {told.words}", flush=True)
    print(f"    {played.verdict.figures()}", flush=True)
    if played.problems or whole:
        print(*(f"    {problem}" for problem in played.problems), played.story, sep="\n", flush=True)


def hunt(seconds: float, first: int, count: int | None, workers: int, *, reference: bool) -> int:
    until, seed, kinds, done = time.monotonic() + seconds, first, Counter[str](), 0
    broken: list[int] = []
    running: set[Future[tuple[Scenario, Played]]] = set()
    with ThreadPoolExecutor(workers) as pool:
        while True:
            while len(running) < workers and (
                seed < first + count if count is not None else time.monotonic() < until or seed == first
            ):
                running.add(pool.submit(one, seed, reference=reference))
                seed += 1
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                told, played = future.result()
                done += 1
                kinds.update(played.verdict.kinds())
                broken += [told.seed] if played.problems else []
                tell(told, played, whole=count == 1)
    print(f"{done} worlds, {len(broken)} with a breach: {sorted(broken)}; kinds {dict(kinds)}")
    return 1 if broken else 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["pace"]:
        print(*pace.table(), sep="\n")
        return 0
    given = dict(argument.split("=", 1) for argument in arguments)
    count = int(given["COUNT"]) if "COUNT" in given else None
    seconds, first = float(given.get("SECONDS", "60")), int(given.get("SEED", "1"))
    return hunt(seconds, first, count, int(given.get("WORKERS", "2")), reference=bool(given.get("REFERENCE")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
