"""The rejections of a run: a file whose lines name bytes that are not wanted.

    NAME/INDEX gGENERATION DIGITS [REASON]      hero-3/0 g0 3fa9c1d2e4b5 six fingers

``DIGITS`` are the first 12 of the SHA-256 of the output as the gateway sent it: embedding does not
change them. Blank lines and lines that begin with ``#`` are ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.core.events import Saved
from crucible_batch.core.redaction import clean
from crucible_batch.errors import ManifestError, Place, Problem
from crucible_batch.manifest.files import FileFault, read_text

REJECTS_FILE = "rejects.txt"
"""The name of the file in the run directory, unless the manifest names another one."""
DIGITS = 12
MAX_REJECTS_BYTES = 16 * 1024 * 1024
MAX_REASON = 500
_OF_CHECK = re.compile(r"check [a-z]+: ")
"""What the reasons of checks begin with: the name of the check."""
_LIMIT = f"{MAX_REJECTS_BYTES // 1024**2} MiB, the limit for a file of rejections"
_COMMENT = "#"  # no safe name begins with it
_LINE = re.compile(
    r"(?P<name>[^/]+)/(?P<index>[0-9]{1,9})[ \t]+g(?P<generation>[0-9]{1,4})[ \t]+"
    r"(?P<digits>[0-9a-f]{12,64})(?:[ \t]+(?P<reason>.*))?"
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line: the output of a job that is rejected.

    ``number`` is the line's, from 1, ``file`` the path of its file as it was given.
    """

    name: str
    index: int
    generation: int
    digits: str
    reason: str = ""
    number: int = 0
    file: str = field(default="", compare=False)

    @property
    def output(self) -> str:
        return f"{self.name}/{self.index}"

    @property
    def is_of_check(self) -> bool:
        """Whether a check has written it, not a person."""
        return _OF_CHECK.match(self.reason) is not None

    def __str__(self) -> str:
        words = [self.output, f"g{self.generation}", self.digits, self.reason]
        return " ".join(word for word in words if word)

    def is_of(self, index: int, digest: str) -> bool:
        """Whether it names an output with this number and digest."""
        return index == self.index and digest.startswith(self.digits)


def digest_of(saved: Saved) -> str:
    """Return the SHA-256 of an output as the gateway sent it."""
    return (saved.sent or saved).sha256


def rejection_by_check(name: str, generation: int, saved: Saved, reason: str) -> Rejection:
    """Return the line that a check writes; its reason begins with the name of the check."""
    words = clean(f"check {reason}", MAX_REASON)
    return Rejection(name, saved.index, generation, digest_of(saved)[:DIGITS], words)


def reason_of_person(text: str) -> str:
    """Return the reason that a person gives as it is in a line, never as one of a check.

    A picture that a check has rejected may be bought again with the same bytes, up to the maximum.
    """
    words = clean(text, MAX_REASON)
    return f"C{words[1:]}" if _OF_CHECK.match(words) else words


def parse_rejection(line: str, number: int) -> Rejection | None:
    """Return the rejection of a line; None if it is not one."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    return Rejection(
        name=found["name"],
        index=int(found["index"]),
        generation=int(found["generation"]),
        digits=found["digits"],
        reason=found["reason"] or "",
        number=number,
    )


def parse_rejections(text: str) -> Iterator[tuple[int, Rejection | None]]:
    """Yield each line that is not empty: its number, and its rejection, None if it is invalid."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(_COMMENT):
            yield number, parse_rejection(line, number)


def read_rejections(path: Path, shown: str) -> list[Rejection]:
    """Return the rejections of a file; none if there is no file.

    ``shown`` is the path as it was given. Raises ``ManifestError`` for lines that are invalid, and
    if the file can't be read.
    """
    if not os.path.lexists(path):
        return []
    try:
        text = read_text(path, shown, MAX_REJECTS_BYTES, _LIMIT)
    except FileFault as fault:
        raise ManifestError([Problem(Place(path), "", str(fault), hint=fault.hint)]) from None
    found, problems = list[Rejection](), list[Problem]()
    for number, rejection in parse_rejections(text):
        if rejection is not None:
            found.append(replace(rejection, file=shown))
        else:
            problems.append(_invalid(path, number))
    if problems:
        raise ManifestError(problems[:20], omitted=max(0, len(problems) - 20))
    return found


def _invalid(path: Path, number: int) -> Problem:
    return Problem(
        Place(path, number),
        "",
        "this is not a rejection",
        hint="a line is NAME/INDEX gGENERATION DIGITS, and perhaps a reason, as"
        " crucible-batch reject writes it",
    )


class Rejections:
    """All rejections of a run. ``names`` are those of the manifest's jobs.

    A line is about the job that it names. If no job has that name, the job was renamed: then the
    line is about each job with these bytes.
    """

    def __init__(self, lines: Iterable[Rejection], names: Set[str]) -> None:
        self._of_name: dict[str, list[Rejection]] = {}
        self._of_renamed: list[Rejection] = []
        for line in lines:
            if line.name in names:
                self._of_name.setdefault(line.name, []).append(line)
            else:
                self._of_renamed.append(line)

    def of(self, name: str) -> list[Rejection]:
        """Return the lines that may be about a job."""
        return [*self._of_name.get(name, ()), *self._of_renamed]

    def rejects(self, name: str, index: int, digest: str) -> bool:
        """Whether a line is about an output of a job, by its number and digest."""
        return any(line.is_of(index, digest) for line in self.of(name))
