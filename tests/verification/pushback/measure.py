"""Run the installed command against the gateway of this folder, scene by scene, and print what pushback costs.

`python -m tests.verification.pushback.measure [--jobs 3000] [--quick] [SCENE...]`
"""

import argparse
import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.verification.pushback.scenes import SCENES, Scene, Steps

COMMAND = Path(sys.executable).with_name("crucible-batch")
COLUMNS = (
    ("scene", "{:<24}"), ("jobs", "{:>6}"), ("made", "{:>6}"), ("exit", "{:>7}"), ("wall s", "{:>7}"),
    ("jobs/s", "{:>7}"), ("middle", "{:>7}"), ("ratio", "{:>6}"), ("middle", "{:>7}"), ("cap use", "{:>8}"),
    ("most", "{:>5}"), ("refused", "{:>8}"), ("req/job", "{:>8}"), ("twice", "{:>6}"),
)  # fmt: skip
MANIFEST = """\
version: 1
name: pushback-{n}
workflow: draw-{n}
jobs:
  - name: "p-{{{{ row.n }}}}"
    foreach: rows.csv
    prompt: "picture {{{{ row.n }}}}"
"""


@dataclass(frozen=True)
class Result:
    scene: Scene
    jobs: int
    exits: tuple[str, ...]
    wall_s: float
    cpu_s: float  # of the commands
    stats: dict[str, Any]

    @property
    def acceptances(self) -> list[float]:
        return sorted(at for times in self.stats["accepted_at"].values() for at in times)

    @property
    def seconds(self) -> float:
        """From the first acceptance to the last download."""
        if self.stats["last_download"] is None:
            return math.nan
        return float(self.stats["last_download"] - self.acceptances[0])

    @property
    def pace(self) -> float:
        return float(self.stats["downloaded"] / self.seconds)

    @property
    def middle_pace(self) -> float:
        """Acceptances a second between a tenth and nine tenths of them: the ramp and the end are left out."""
        times = self.acceptances
        low, high = len(times) // 10, len(times) * 9 // 10
        return (high - low) / (times[high] - times[low]) if high > low else math.nan

    @property
    def refused_share(self) -> float:
        return float(sum(self.stats["submits"]["refused"].values()) / max(1, self.stats["requests"].get("submit", 0)))

    @property
    def requests_per_job(self) -> float:
        api = sum(n for kind, n in self.stats["requests"].items() if kind not in ("download", "upload"))
        return float(api / max(1, self.stats["submits"]["accepted"]))

    @property
    def jain(self) -> float:
        """Jain's index of accepted submits a second while all commands were submitting; 1 is equal shares."""
        each = list(self.stats["accepted_at"].values())
        if len(each) < self.scene.commands:
            return math.nan
        start, end = max(times[0] for times in each), min(times[-1] for times in each)
        counts = [sum(start <= at <= end for at in times) for times in each]
        squares = sum(count**2 for count in counts)
        return sum(counts) ** 2 / (len(counts) * squares) if squares else math.nan


def ideal_seconds(jobs: int, steps: Steps, pace: float) -> float:
    """How long `jobs` take at the lower of `pace` and the rate of the step that one is in."""
    done = 0.0
    for (start, limit), (end, _) in zip(steps, [*steps[1:], (math.inf, 0.0)], strict=True):
        rate = min(limit, pace)
        if rate and done + rate * (end - start) >= jobs:
            return start + (jobs - done) / rate
        done += rate * (end - start)
    return math.inf


def jobs_within(seconds: float, most: int, steps: Steps) -> int:
    """As many jobs as the gateway can do in `seconds`, and no more than `most`."""
    done = 0.0
    for (start, rate), (end, _) in zip(steps, [*steps[1:], (math.inf, 0.0)], strict=True):
        span = max(0.0, min(end, seconds) - start)
        done += rate * span if span else 0.0
    return int(min(most, done))


@contextlib.contextmanager
def gateway(options: tuple[str, ...], seed: int) -> Iterator[str]:
    module = "tests.verification.pushback.gateway"
    arguments = [sys.executable, "-m", module, "--port", "0", "--seed", str(seed), *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def start_command(folder: Path, number: int, jobs: int, scene: Scene, url: str) -> subprocess.Popen[bytes]:
    folder.mkdir()
    (folder / "rows.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(jobs)))
    (folder / "manifest.yaml").write_text(MANIFEST.format(n=number))
    arguments = ["run", "manifest.yaml", "-c", scene.concurrency, "--api-base", url, "--out-dir", "out"]
    arguments += ["--yes", "--no-html", "--display", "none"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment["MOLTAZINE_API_KEY"] = "moltazine_pushback"
    log = (folder / "log").open("wb")
    with log:
        return subprocess.Popen(
            [COMMAND, *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def wait(process: subprocess.Popen[bytes], until: float) -> str:
    try:
        return str(process.wait(max(0.1, until - time.monotonic())))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return "timeout"


def children_cpu_s() -> float:
    """Of children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def play(scene: Scene, jobs: int, options: argparse.Namespace) -> Result:
    pushback = scene.options if scene.has_rate else ("--service", str(options.service), *scene.options)
    with tempfile.TemporaryDirectory(prefix="pushback-") as base, gateway(pushback, options.seed) as url:
        began, cpu_s = time.monotonic(), children_cpu_s()
        commands = [
            start_command(Path(base) / str(n), n, jobs // scene.commands, scene, url)
            for n in range(1, scene.commands + 1)
        ]
        try:
            exits = tuple(wait(command, began + options.timeout) for command in commands)
        finally:
            for command in commands:
                command.kill()  # of one that has ended, nothing
        wall_s = time.monotonic() - began
        with urllib.request.urlopen(f"{url}/_stats") as response:
            stats = json.load(response)
        if exits[0] not in ("0", "timeout"):
            print("  " + "\n  ".join((Path(base) / "1" / "log").read_text().splitlines()[-6:]))
    return Result(scene, jobs // scene.commands * scene.commands, exits, wall_s, children_cpu_s() - cpu_s, stats)


@dataclass(frozen=True)
class Pace:
    """Jobs a second of clean runs: of all of a run, and of its middle."""

    whole: float
    middle: float


UNLIMITED = Pace(math.inf, math.inf)


def between(before: Result, after: Result) -> Pace:
    """The harmonic mean of two clean runs, that is, of their times."""
    return Pace(
        2 / (1 / before.pace + 1 / after.pace),
        2 / (1 / before.middle_pace + 1 / after.middle_pace),
    )


def show(result: Result, clean: Pace) -> str:
    return f"{row(result, clean)}\n{details(result)}"


def row(result: Result, clean: Pace) -> str:
    stats, steps = result.stats, result.scene.steps
    if not stats["downloaded"]:
        return f"{result.scene.name:<24} nothing was made; exit {','.join(result.exits)}"
    ratio = ideal_seconds(stats["downloaded"], steps, clean.whole) / result.seconds
    middle = result.middle_pace / min(steps[0][1], clean.middle) if len(steps) == 1 else math.nan
    use = stats["cap_use"]
    values = (
        result.scene.name,
        result.jobs,
        stats["downloaded"],
        ",".join(sorted(set(result.exits))),
        f"{result.wall_s:.1f}",
        f"{result.pace:.1f}",
        f"{result.middle_pace:.1f}",
        f"{ratio:.2f}",
        "-" if math.isnan(middle) else f"{middle:.2f}",
        "-" if use is None else f"{use:.0%}",
        stats["most_in_flight"],
        f"{result.refused_share:.1%}",
        f"{result.requests_per_job:.2f}",
        stats["jobs_charged_twice"],
    )
    return " ".join(form.format(value) for (_, form), value in zip(COLUMNS, values, strict=True))


def details(result: Result) -> str:
    """Below the row: why submits were refused, the gateway's own load, and what must not happen at all."""
    stats = result.stats
    parts = [f"{reason} {count}" for reason, count in stats["refused"].items()]
    parts.append(f"in flight {stats['mean_in_flight'] or 0:.1f} on average")
    parts.append(f"CPU: command {result.cpu_s / result.wall_s:.0%}, gateway {stats['cpu_s'] / result.wall_s:.0%}")
    if result.scene.commands > 1:
        parts.append(f"Jain's index {result.jain:.3f}")
    if stats["charged"] != stats["downloaded"]:
        parts.append(f"charged {stats['charged']}, downloaded {stats['downloaded']}")
    if stats["keys_at_storage"]:
        parts.append(f"API KEY SENT TO STORAGE {stats['keys_at_storage']} times")
    return "    " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scenes", nargs="*", metavar="SCENE", help=", ".join(scene.name for scene in SCENES).replace("%", "%%")
    )
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=40, help="ideal length of a scene that has a limit")
    parser.add_argument("--service", type=float, default=0.2, help="seconds of a job in scenes that have no limit")
    parser.add_argument("--timeout", type=float, default=240, help="seconds after which a command is stopped")
    parser.add_argument("--quick", action="store_true", help="400 jobs, 10 seconds")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    most, seconds = (400, 10.0) if options.quick else (options.jobs, options.seconds)
    unknown = set(options.scenes) - {scene.name for scene in SCENES}
    if unknown:
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    chosen = [scene for scene in SCENES if not options.scenes or scene.name in options.scenes]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    print(" ".join(form.format(name) for name, form in COLUMNS), flush=True)
    latest: dict[str, Result] = {}
    waiting: list[Result] = []
    for scene in with_references(chosen):
        result = play(scene, jobs_within(seconds, most, scene.steps), options)
        if scene.is_reference:
            pace = between(latest.get(scene.name, result), result)
            print(*(show(each, pace) for each in [*waiting, result]), sep="\n", flush=True)
            latest[scene.name], waiting = result, []
        elif scene.has_rate:
            print(show(result, UNLIMITED), flush=True)
        else:
            waiting.append(result)


def with_references(chosen: list[Scene]) -> list[Scene]:
    """The scenes with clean runs before, after and between, at most two scenes apart: the machine's speed drifts."""
    named = {scene.name: scene for scene in SCENES}
    order: list[Scene] = []
    open_since = 0  # scenes that were not yet followed by their clean run
    for scene in chosen:
        reference = named[scene.reference]
        if open_since and (open_since >= 2 or scene.has_rate or scene.reference != order[-1].reference):
            order.append(named[order[-1].reference])
            open_since = 0
        if reference not in order and not scene.has_rate:
            order.append(reference)
        if not scene.is_reference:
            order.append(scene)
            open_since += not scene.has_rate
    return [*order, named[order[-1].reference]] if open_since else order


if __name__ == "__main__":
    main()
