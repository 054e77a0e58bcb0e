"""What a page shows of a terminal, and whether a command's output is that: times, ids and sizes are
masked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# What is another one on each run. A table's columns move with it, so blanks count as one.
_MASKS = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z?"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (s|min|h|ms)\b"), "DURATION"),
    (re.compile(r"\b\d+(\.\d+)? (bytes|kB|MB|GB)\b"), "SIZE"),
    (re.compile(r"\[\d+\]"), "[PID]"),
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"\s+"), " "),
)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_UNWELL = ("! ", "✗ ", "error ")


@dataclass(frozen=True, slots=True)
class Step:
    """A command at a prompt and the lines that a page shows below it.

    ``...`` stands for lines left out.
    """

    command: str
    shown: tuple[str, ...]
    is_interrupted: bool

    @property
    def may_fail(self) -> bool:
        """Whether the page shows that the command ends with another code than 0."""
        return self.is_interrupted or any(line.startswith(_UNWELL) for line in self.shown)


def steps(text: str) -> list[Step]:
    """Read a block that is called ``console``."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return [
        Step(command, tuple(line for line in shown if line.strip() and line != "^C"), "^C" in shown)
        for command, shown in found
    ]


def mask(line: str, *, numbers: bool = False) -> str:
    """Replace what differs from run to run; with ``numbers`` every number, where chance decides how
    far a run came."""
    for pattern, word in _MASKS:
        line = pattern.sub(word, line)
    return _NUMBER.sub("N", line.strip()) if numbers else line.strip()


def disagreement(step: Step, out: str, err: str, *, numbers: bool = False) -> str | None:
    """Say where a page is wrong; None where it is right.

    What a command says on stdout has to be there, line by line, and whatever else the page shows
    has to be on stderr, in its order. Progress on stderr may be left out: on a terminal it is gone
    at the end.
    """
    shown = [mask(line, numbers=numbers) for line in step.shown]
    said = [mask(line, numbers=numbers) for line in out.splitlines() if line.strip()]
    told = [mask(line, numbers=numbers) for line in err.splitlines() if line.strip()]
    if "..." in shown:
        kept = [line for line in shown if line != "..."]
        missing = _missing(kept, said) and _missing(kept, told)
        return f"never said, or in another order: {missing!r}\n{out}{err}" if missing else None
    if (unsaid := _missing(said, shown)) is not None:
        return f"the page leaves out {unsaid!r}\n{out}{err}"
    others = list(shown)
    for line in said:
        others.remove(line)
    if (invented := _missing(others, told)) is not None:
        return f"never said: {invented!r}\n{out}{err}"
    return None


def _missing(lines: Sequence[str], within: Sequence[str]) -> str | None:
    """Return the first of ``lines`` that doesn't stand in ``within`` behind the ones before it."""
    rest = iter(within)
    return next((line for line in lines if line not in rest), None)
