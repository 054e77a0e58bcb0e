"""``python -m tests.verification.fleet SEED [WORKERS]``: replay a seed, and print what happened and
what is broken.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.verification.fleet.contract_judge import contract_broken
from tests.verification.fleet.judge import judge
from tests.verification.fleet.play import play
from tests.verification.fleet.scenario import invent


def told(seed: int, workers: int | None, base: Path) -> str:
    """Play a seed in an empty directory and return its story."""
    scenario = invent(seed, workers)
    story = play(scenario, base)
    mishaps = sorted((mishap.value, count) for mishap, count in story.mishaps.items())
    lines = [
        f"seed {seed}: {scenario.workers} workers, {scenario.jobs} jobs, budget {scenario.budget}",
        (
            f"{story.virtual_s:.3f} s, {story.starts} processes, "
            f"{len(story.entries)} rows in the gateway's ledger"
        ),
        (
            f"{story.deaths} killed, {story.zombies} frozen and woken up, "
            f"{len(story.evidence.plans)} plans"
        ),
        f"endings {story.endings}",
        *(f"{mishap}: {count}" for mishap, count in mishaps),
        *story.errors,
        *(f"BROKEN {text}" for text in judge(story)),
        *(f"BROKEN by the contract: {text}" for text in contract_broken(story.evidence)),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        print(told(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None, Path(name)))
