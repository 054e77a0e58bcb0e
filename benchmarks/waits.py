"""``python -m benchmarks.waits [--against DIR] [--rounds N]``: what a person waits for, in whole
commands: the first submit of a short run, its prompt after the last output, ``status`` of a long
run, and a page that is written again.

With ``--against``, this tree and another one, such as a worktree of an earlier release, take turns
on the same directories, both imported by this interpreter; their ratio is printed as well.
Compare the seconds of CPU where other programs use the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.gateway import KEY, running
from benchmarks.process import Cost, median, median_ratio, run
from benchmarks.report import filled, pictures
from benchmarks.table import ROOT
from benchmarks.whole_run import manifest
from crucible_batch.journal import Binding, Journal

FEW = 10
_LONG, _SHOWN = 100_000, 10_000
"""Jobs of the run whose status is read, and of the one whose page is written."""
_SIDE = 64
"""Pixels of a picture on the page: each job has one of its own."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds that a person waits, and the CPU of the whole command."""

    wall_s: float
    cpu_s: float


Measure = Callable[[Path], Mapping[str, Wait]]
"""Runs a command of a tree once, and returns its waits by what is waited for."""


def command(tree: Path, folder: Path, *words: str | Path, url: str = "") -> Cost:
    """Run a command of a tree in a folder, with a state directory of its own."""
    environment = {
        "PYTHONPATH": str(tree),
        "MOLTAZINE_API_KEY": KEY,
        "CRUCIBLE_API_BASE": url,
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return run(
        [sys.executable, "-m", "crucible_batch", *words], folder=folder, environment=environment
    )


def short_run(tree: Path, url: str) -> Mapping[str, Wait]:
    """Run ten jobs in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Each run has an id of its own: it is to buy, and not to find what one before it bought.
        words = ("run", manifest(folder, FEW), "--budget", "1000", "--run-id", folder.name)
        _moments(url)
        began = time.monotonic()
        cost = command(tree, folder, *words, url=url)
        ended, seen = time.monotonic(), _moments(url)
        return {
            f"`run` to the first submit, {FEW} jobs": _wait(seen["first_submit"] - began, cost),
            f"last output to the prompt, {FEW} jobs": _wait(ended - seen["last_output"], cost),
        }


def _wait(wall_s: float, cost: Cost) -> Wait:
    return Wait(wall_s, cost.cpu_s)


def _moments(url: str) -> Mapping[str, float]:
    """Return when the gateway had what since it was last asked, by the clock of all processes."""
    with urllib.request.urlopen(f"{url}/moments") as answer:
        found: Mapping[str, float] = json.load(answer)
    return found


def on_directory(tree: Path, directory: Path, what: str, name: str) -> Mapping[str, Wait]:
    """Run the command ``name`` on a run directory."""
    cost = command(tree, directory.parent, name, directory)
    return {what: _wait(cost.wall_s, cost)}


@contextmanager
def ended_run(jobs: int, pictured: int, side: int) -> Iterator[Path]:
    """Yield the directory of a run of so many jobs that went well, which share the pictures."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "out"
        directory.mkdir()
        with Journal.open(directory, Binding("m", "r", "g"), now=0) as journal:
            filled(journal, pictures(directory, pictured, side), jobs)
        yield directory


def in_turns(
    measure: Measure, trees: Sequence[Path], rounds: int
) -> Mapping[str, Mapping[Path, Sequence[Wait]]]:
    """Let the trees take turns; return each one's waits, by what is waited for.

    The first turn doesn't count: it compiles the modules, and makes the thumbnails.
    """
    found: dict[str, dict[Path, list[Wait]]] = {}
    for number in range(rounds + 1):
        for tree in trees:
            for what, wait in measure(tree).items():
                waits = found.setdefault(what, {}).setdefault(tree, [])
                if number:
                    waits.append(wait)
    return found


def lines(
    trees: Sequence[Path], rounds: int, *, long: int = _LONG, shown: int = _SHOWN
) -> Iterator[str]:
    """Measure, and yield the figures: those of the first tree, beside those of the others."""

    def measured(measure: Measure) -> Iterator[str]:
        for what, waits in in_turns(measure, trees, rounds).items():
            yield f"{what}: {_figures([waits[tree] for tree in trees])}"

    with running(output_bytes=20_000) as url:
        yield from measured(partial(short_run, url=url))
    with ended_run(long, 1, _SIDE) as directory:
        what = f"`status` of {long:,} jobs"
        yield from measured(partial(on_directory, directory=directory, what=what, name="status"))
    with ended_run(shown, shown, _SIDE) as directory:
        what = f"`report` of {shown:,} jobs, written again"
        yield from measured(partial(on_directory, directory=directory, what=what, name="report"))


def _figures(waits: Sequence[Sequence[Wait]]) -> str:
    ours, *others = waits
    text = f"{median(each.wall_s for each in ours):.2f} s"
    for theirs in others:
        ratio = median_ratio([each.wall_s for each in ours], [each.wall_s for each in theirs])
        text += f" beside {median(each.wall_s for each in theirs):.2f} ({ratio:.2f}×)"
    text += f"; CPU of the command {median(each.cpu_s for each in ours):.2f} s"
    for theirs in others:
        ratio = median_ratio([each.cpu_s for each in ours], [each.cpu_s for each in theirs])
        text += f" beside {median(each.cpu_s for each in theirs):.2f} ({ratio:.2f}×)"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    trees = [ROOT]
    if chosen.against is not None:
        trees.append(chosen.against.resolve())
    for line in lines(trees, chosen.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
