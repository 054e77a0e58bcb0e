"""One long run of the installed command, killed every few seconds until it is done, and then
judged.

    python -m tests.verification.campaign.long_run --jobs 5000 --seconds 1800

Prints one JSON object. ``--seconds`` is when the killing ends; the last run then has the time that
it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.verification.crash.canary import leaks
from tests.verification.crash.children import start_sandbox
from tests.verification.crash.judge import Past, ask, judge, judge_repeat
from tests.verification.crash.scenes import CANARY, Scene, big_scene

COMMAND = str(Path(sys.executable).with_name("crucible-batch"))
JOBS_A_SECOND = 40
"""What a run that is killed every few seconds gets done on two busy cores; it only sizes the run.
"""
_SHORTEST_LIFE_S, _LONGEST_LIFE_S = 1.5, 8.0


def scene_of(jobs: int) -> Scene:
    """So many jobs, one image for each hundred, and a gateway as fast as it can be."""
    return replace(big_scene(jobs, jobs // 100), concurrency=32, spare=Decimal(100))


def play(jobs: int, seconds: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run it to its end, and have it judged."""
    chance, scene = Random(seed), scene_of(jobs)
    scene.write(folder)
    (folder / "tmp").mkdir()
    sandbox = start_sandbox(replace(scene.gateway, runners=64, accounts={CANARY: 2 * scene.budget}))
    try:
        kills = lives = 0
        until, code = time.monotonic() + seconds, None
        while code is None:
            lives += 1
            life_s = (
                chance.uniform(_SHORTEST_LIFE_S, _LONGEST_LIFE_S)
                if time.monotonic() < until
                else None
            )
            code = _live(folder, sandbox.url, life_s)
            kills += code is None
        state = ask(sandbox.url)
        findings = list(judge(scene, Past(kills), folder / "out", code, state))
        again = _live(folder, sandbox.url, None)
        findings += list(judge_repeat(state, ask(sandbox.url), (code, again or 0)))
        texts = [f"{finding.kind}: {finding.text}" for finding in findings] + list(leaks(folder))
        if not kills:
            texts.append("unkilled: the run had ended before the first kill")
    finally:
        sandbox.stop()
    found: dict[str, int] = {}
    for text in texts:
        kind = text.partition(":")[0]
        found[kind] = found.get(kind, 0) + 1
    return {
        "counts": {"jobs": jobs, "kills": kills, "resumes": lives - 1},
        "found": found,
        "findings": texts,
    }


def _live(folder: Path, url: str, life_s: float | None) -> int | None:
    """One process; None where it was killed after ``life_s``."""
    process = subprocess.Popen(
        [COMMAND, "run", "m.yaml", "--out-dir", "out", "-q", "-c", "32", "--no-html"],
        cwd=folder,
        env={
            **os.environ,
            "MOLTAZINE_API_KEY": CANARY,
            "CRUCIBLE_API_BASE": url,
            "TMPDIR": str(folder / "tmp"),
            "XDG_STATE_HOME": str(folder / "state"),  # not the user's
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(timeout=life_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.campaign.long_run",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument(
        "--jobs", type=int, help="so many; as many as the time allows, where it isn't said"
    )
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    jobs = wanted.jobs or max(100, min(5000, int(wanted.seconds * JOBS_A_SECOND)))
    with tempfile.TemporaryDirectory(prefix="long-run-") as name:
        told = play(jobs, wanted.seconds, wanted.seed, Path(name))
    print(json.dumps(told))
    return 1 if told["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
