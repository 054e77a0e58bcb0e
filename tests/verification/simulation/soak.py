"""Seed after seed until the time is up; the first that breaks an invariant ends it, with the
command that replays it.

    python -m tests.verification.simulation.soak SECONDS [SEED]

With SEED that one seed alone is played, and its story told. `make soak` is the same in short.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from crucible_batch.core.plan import InputImage
from tests.verification.simulation.play import Tally, make_images, play
from tests.verification.simulation.price_worlds import FIRST_SCENE, FIRST_SEED

_SEEDS_A_BATCH = 20
_PROCESSES = 2


@contextmanager
def workshop() -> Iterator[tuple[Path, list[InputImage]]]:
    """A directory in memory where there is one, with the input images."""
    memory = Path("/dev/shm")
    base = Path(
        tempfile.mkdtemp(prefix="simulation-", dir=memory if os.access(memory, os.W_OK) else None)
    )
    try:
        yield base, make_images(base)
    finally:
        shutil.rmtree(base)


def play_all(seeds: Sequence[int]) -> Tally:
    """Play seeds one after the other, up to the first that breaks an invariant."""
    total = Tally()
    with workshop() as (base, images):
        for seed in seeds:
            total.add(judged(seed, base / str(seed), images))
            if total.broken:
                break
    return total


def judged(seed: int, directory: Path, images: Sequence[InputImage]) -> Tally:
    """Play one seed.

    A bug that shows as an exception breaks an invariant too: that runs end by themselves.
    """
    try:
        tally = play(seed, directory, images)
    except Exception as error:
        tally = Tally(seeds=1, broken=["".join(traceback.format_exception(error)).strip()])
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    tally.broken = [f"seed {seed}: {text}" for text in tally.broken]
    return tally


def soak(seconds: float, first: int) -> Tally:
    """Play seeds from ``first`` on, on two processes, until ``seconds`` are up or an invariant
    breaks."""
    total = Tally()
    began = time.monotonic()
    batches = (range(first + n * _SEEDS_A_BATCH, first + (n + 1) * _SEEDS_A_BATCH) for n in count())
    with ProcessPoolExecutor(_PROCESSES) as pool:
        running: set[Future[Tally]] = {
            pool.submit(play_all, next(batches)) for _ in range(_PROCESSES)
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            while (
                len(running) < _PROCESSES
                and not total.broken
                and time.monotonic() - began < seconds
            ):
                running.add(pool.submit(play_all, next(batches)))
    total.wall_s = time.monotonic() - began
    return total


def report(total: Tally) -> str:
    """Say what was played and what came of it."""
    days = total.virtual_s / 86400
    rate = total.seeds / total.wall_s * 60 if total.wall_s else 0.0
    broken = {
        "charged twice": total.double_charges,
        "outputs lost": total.lost_outputs,
        "over budget": total.over_budget,
    }
    lines = [
        (
            f"{total.seeds} seeds, {total.runs} runs, {total.crashes} crashes, "
            f"{days:,.0f} days of virtual time"
        ),
        f"{total.pauses} pauses and stops by command, {total.derived} jobs of later stages",
        f"{rate:,.0f} seeds and {rate * total.runs / max(1, total.seeds):,.0f} runs a minute",
        "endings    " + _listed({f"exit {code}": n for code, n in total.endings.items()}),
        "faults     " + _listed(total.faults),
        "died at    " + _listed(total.deaths),
        "broken     " + _listed(broken),
    ]
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))
        or "nothing"
    )


def main(arguments: Sequence[str]) -> int:
    """Soak, or replay one seed. Returns 1 where an invariant broke."""
    if len(arguments) > 1:
        total = play_all([int(arguments[1])])
        print(*("  ".join(line) for line in total.trace), sep="\n")
    else:
        total = soak(float(arguments[0]), random.SystemRandom().randrange(FIRST_SCENE + FIRST_SEED))
    print(report(total))
    for text in total.broken:
        print(f"BROKEN {text}")
    if total.broken:
        print(f"replay it: make soak SEED={total.broken[0].split()[1].rstrip(':')}")
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
