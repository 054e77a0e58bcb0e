"""Start-up: how long the command takes to say something, beside a node process that has nothing to
say.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import which

from benchmarks.process import Cost, interleaved, median, median_ratio, run
from benchmarks.row import Row

COMMAND = Path(sys.executable).with_name("crucible-batch")
MANIFEST = Path(__file__).parents[1] / "manifests" / "hello.yaml"
_GOALS = {"--version": 2.5, "--help": 2.5, "validate": 5.0}
_WHY = {
    "--version": "almost all of it is the start of the interpreter",
    "--help": "only Typer and Rich are loaded, to format the help",
    "validate": (
        "pydantic, Typer and PyYAML are loaded and the models are built; "
        "Jinja2, httpx and asyncio are not loaded"
    ),
}
_NODE = "node -e 0"


def rows(quick: bool) -> Iterator[Row]:
    """Start each command and node in turn."""
    node = which("node")
    if node is None:
        for name, most in _GOALS.items():
            yield Row(
                name,
                f"<= {most}x {_NODE}",
                "not measured",
                False,
                "there is no node on this machine",
            )
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders: dict[str, Callable[[], Cost]] = {
            _NODE: partial(run, [node, "-e", "0"], folder=folder)
        }
        for words in (("--version",), ("--help",), ("validate", MANIFEST)):
            contenders[str(words[0])] = partial(run, [COMMAND, *words], folder=folder)
        costs = interleaved(contenders, 7 if quick else 31)
    floor = costs[_NODE]
    for command, most in _GOALS.items():
        ratio = median_ratio(
            (cost.wall_s for cost in costs[command]), (cost.wall_s for cost in floor)
        )
        cpu = median_ratio((cost.cpu_s for cost in costs[command]), (cost.cpu_s for cost in floor))
        took = 1000 * median(cost.wall_s for cost in costs[command])
        note = (
            f"{took:.0f} ms, node {1000 * median(cost.wall_s for cost in floor):.0f} ms; "
            f"CPU time {cpu:.2f}x"
        )
        yield Row(
            f"start of {command}",
            f"<= {most}x {_NODE}",
            f"{ratio:.2f}x",
            ratio <= most,
            note,
            _WHY[command],
        )


if __name__ == "__main__":
    print(*rows("--quick" in sys.argv), sep="\n")
