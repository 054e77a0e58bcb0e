"""Where a complete run and its floor spend their time: CPU in µs a job, by thread and by layer.

``python -m benchmarks.layers [--jobs N] [--output-bytes N]`` runs both programs with few and with
many jobs; the difference is what a job takes. Threads are measured by the clocks of the kernel. All
is then run again under a profiler, which only divides the time of the main thread, since it makes
calls of functions dearer than they are. Calls of built-in functions and of the standard library,
except for asyncio, count for the layer that makes them.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import runpy
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from benchmarks import process, whole_run
from benchmarks.gateway import running

_LAYERS: Final = (
    ("benchmarks/floors", "the script itself"),
    ("crucible_batch/gateway", "requests: gateway client, validation of answers"),
    ("crucible_batch/engine", "engine: driver, admission, slots, polls"),
    ("crucible_batch/core/redaction", "requests: search of answers for the API key"),
    ("crucible_batch/core", "decisions: job, ledger, budget, poll schedule"),
    ("crucible_batch/journal", "journal: encoding, decoding, handing over to the writer"),
    ("crucible_batch/outputs", "outputs and receipts, before and after the thread"),
    ("crucible_batch/report", "report"),
    ("crucible_batch/cli", "display"),
    ("crucible_batch", "planning and the rest"),
    ("aiohttp", "aiohttp"),
    ("asyncio", "event loop"),
)
"""Parts of file names, the more specific ones first, and the layer of each."""
_ROUNDS: Final = 12
"""How often the time of a function without a layer is passed on to its callers."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=3_000)
    parser.add_argument("--output-bytes", type=int, default=200_000)
    chosen = parser.parse_args()
    few, many = max(1, chosen.jobs // 5), chosen.jobs
    scratch = process.scratch_folder()
    with running(output_bytes=chosen.output_bytes) as url:
        programs: dict[str, Callable[[int], process.Cost]] = {
            "complete run": lambda jobs: whole_run.product(url, scratch, jobs),
            "floor": lambda jobs: whole_run.script(
                url, scratch, jobs, process.FLOORS / "safe_jobs.py"
            ),
        }
        for name, program in programs.items():
            timed, profiled = (
                [_measured(program, jobs, is_profiled=is_profiled) for jobs in (few, many)]
                for is_profiled in (False, True)
            )
            _show(name, timed[0], timed[1], many - few)
            _show_layers(*profiled)


def _measured(
    program: Callable[[int], process.Cost], jobs: int, *, is_profiled: bool
) -> dict[str, Any]:
    """Run a program in a process that records what its threads took, or its profile by layer."""
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "noted.json"
        inside: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.layers",
            "--inside",
            noted,
            "profiled" if is_profiled else "timed",
        ]
        run = process.run

        def wrapped(command: list[str | Path], **options: Any) -> process.Cost:
            environment = {
                **(options.pop("environment", None) or {}),
                "PYTHONPATH": str(Path(__file__).parents[1]),
            }
            return run([*inside, *command[1:]], environment=environment, **options)

        with patch.object(whole_run, "run", wrapped):
            cost = program(jobs)
        found: dict[str, Any] = json.loads(noted.read_text())
        return {**found, "process": cost.cpu_s}


def _show(name: str, few: Mapping[str, float], many: Mapping[str, float], jobs: int) -> None:
    def a_job(key: str) -> float:
        return 1e6 * (many[key] - few[key]) / jobs

    rest = a_job("process") - a_job("main") - a_job("journal")
    print(
        f"\n{name}: {a_job('process'):.0f} µs of CPU a job, "
        f"and {1000 * many['start']:.0f} ms a run until it begins"
    )
    print(f"  {a_job('main'):6.0f}  main thread")
    print(f"  {a_job('journal'):6.0f}  the journal's writer")
    print(f"  {rest:6.0f}  threads that write outputs")


def _show_layers(few: Mapping[str, Any], many: Mapping[str, Any]) -> None:
    layers, functions = (
        Counter({name: many[by][name] - few[by].get(name, 0.0) for name in many[by] if name})
        for by in ("layers", "functions")
    )
    total = layers.total()
    print("  the main thread, in hundredths:")
    for layer, seconds in layers.most_common():
        print(f"  {100 * seconds / total:6.1f}  {layer}")
    for function, seconds in functions.most_common(1):
        print(f"  {100 * seconds / total:6.1f}  the most of any function: {function}")
    if again := many["again"] - few["again"]:
        print(f"  {100 * again / total:6.1f}  of all of this: lists of outputs that are read again")


# -- in the process that is measured --


def inside(noted: Path, how: str, program: list[str]) -> None:
    """Run a program as ``python`` would, and write what it took when its event loop has ended."""
    took = {"journal": 0.0, "start": 0.0, "main": 0.0}
    profile = cProfile.Profile(time.thread_time)
    run_loop, run_thread = asyncio.Runner.run, threading.Thread.run

    def looped(runner: asyncio.Runner, work: Any, **options: Any) -> Any:
        took["start"] = took["start"] or time.process_time()
        if how == "profiled":
            profile.enable()
        try:
            return run_loop(runner, work, **options)
        finally:
            profile.disable()
            took["main"] = time.thread_time()
            noted.write_text(
                json.dumps({**took, **(_divided(profile) if how == "profiled" else {})})
            )

    def threaded(thread: threading.Thread) -> None:
        run_thread(thread)
        if thread.name == "journal-writer":
            took["journal"] = time.thread_time()

    sys.argv = program[1:] if program[0] == "-m" else program
    run = partial(runpy.run_module, alter_sys=True) if program[0] == "-m" else runpy.run_path
    with (
        patch.object(asyncio.Runner, "run", looped),
        patch.object(threading.Thread, "run", threaded),
    ):
        run(sys.argv[0], run_name="__main__")


def _divided(profile: cProfile.Profile) -> dict[str, Any]:
    """Return seconds by layer, by function of ours, and those of the tasks that read lists of
    outputs again."""
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return {
        "layers": _divide(stats, lambda function: _layer(function[0])),
        "functions": _divide(stats, _ours),
        "again": sum(found[3] for function, found in stats.items() if function[2] == "_look_again"),
    }


def _divide(stats: Mapping[Any, Any], name: Callable[[Any], str | None]) -> Mapping[str, float]:
    """Return seconds by name; a function without one passes its time on to its callers, by what
    each caused."""
    named: Counter[str] = Counter()
    left = {function: found[2] for function, found in stats.items()}
    for _ in range(_ROUNDS):
        passed: Counter[Any] = Counter()
        for function, seconds in left.items():
            callers = stats[function][4] if function in stats else {}
            weight = sum(caller[3] for caller in callers.values())
            if (its_name := name(function)) is not None:
                named[its_name] += seconds
            elif weight:
                for caller, found in callers.items():
                    passed[caller] += seconds * found[3] / weight
            elif (default := name(("asyncio", 0, ""))) is not None:
                named[default] += seconds
        left = dict(passed)
    return named


def _ours(function: tuple[str, int, str]) -> str | None:
    file = function[0]
    if "crucible_batch" in file:
        return f"{file.rpartition('crucible_batch/')[2]} {function[2]}"
    return "" if _layer(file) is not None else None


def _layer(file: str) -> str | None:
    return next((layer for part, layer in _LAYERS if part in file), None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        main()
