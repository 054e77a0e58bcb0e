"""What is checked, and what follows from what was found. Pure.

    found           flag       reject                  fail
    passes          no mark    no mark                 no mark
    does not pass   mark       mark, line in rejects   mark, job counts as failed (CHECK_FAILED)
    not made        mark       mark                    mark

A finding is durable, and is made once for the same bytes and the same definition of the check. What
follows from it is decided by the manifest of the newest run. A check that could not be made is made
by the next run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from crucible_batch.features.quality.manifest_keys import Action, Checks

SIZE, BLANK, DUPLICATE, COMMAND = "size", "blank", "duplicate", "command"
UNCHECKED: Literal["unchecked"] = "unchecked"
_MEASURED = 1
"""The version of the measurements. A higher number makes them again."""
_FINAL: frozenset[Action] = frozenset({"reject", "fail"})


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the manifest. ``definition`` is what its findings depend on, beside the bytes.

    ``least`` is the smallest size, ``words`` are the program and its arguments.
    """

    name: str
    definition: str
    then: Action
    least: tuple[int, int] = (0, 0)
    words: tuple[str, ...] = ()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check has found. ``passes`` is None if it could not be made."""

    check: str
    definition: str
    passes: bool | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is shown of a finding."""

    check: str
    verdict: Action | Literal["unchecked"]
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is known of an output by checks, as it is noted in the journal.

    ``fingerprint`` is that of ``measurements.py`` as text, empty if it was not taken. ``marks`` are
    those of the newest run. ``rejected``: a line about it was written into the file of rejections.
    """

    findings: tuple[CheckResult, ...] = ()
    fingerprint: str = ""
    marks: tuple[Mark, ...] = ()
    rejected: bool = False

    def finding(self, check: Check) -> CheckResult | None:
        """Return what the check has found; None if it was not made, or was another one."""
        return next((each for each in self.findings if each.definition == check.definition), None)

    def is_unmade(self, check: Check) -> bool:
        """Whether the check could not be made."""
        finding = self.finding(check)
        return finding is not None and finding.passes is None

    def without(self, check: Check) -> Judgement:
        return replace(
            self, findings=tuple(each for each in self.findings if each.check != check.name)
        )

    def having(self, finding: CheckResult) -> Judgement:
        others = (each for each in self.findings if each.check != finding.check)
        return replace(self, findings=(*others, finding))


def checks_in(keys: Checks) -> tuple[Check, ...]:
    """Return the checks of an entry, the cheapest first."""
    return tuple(_checks_in(keys))


def _checks_in(keys: Checks) -> Iterator[Check]:
    if keys.size is not None:
        width, height = keys.size.min
        yield Check(SIZE, f"{SIZE} {width} x {height}", keys.size.then, least=(width, height))
    if keys.blank is not None:
        yield Check(BLANK, f"{BLANK} {_MEASURED}", keys.blank)
    if keys.duplicate is not None:
        yield Check(DUPLICATE, f"{DUPLICATE} {_MEASURED}", keys.duplicate)
    if keys.command is not None:
        words = tuple(keys.command.run)
        definition = f"{COMMAND} {json.dumps(words)}"
        yield Check(
            COMMAND, definition, keys.command.then, words=words, timeout_s=keys.command.timeout
        )


def size_finding(check: Check, width: int, height: int) -> CheckResult:
    least_width, least_height = check.least
    passes = width >= least_width and height >= least_height
    reason = ""
    if not passes:
        reason = f"{width} × {height} pixels, less than {least_width} × {least_height}"
    return CheckResult(check.name, check.definition, passes, reason)


def to_make(checks: Sequence[Check], known: Judgement) -> Iterator[Check]:
    """Yield the checks of an output that have to be made, except ``duplicate``, which needs all
    outputs.

    A program is not asked about an output that another check has rejected or failed.
    """
    for check in checks:
        finding = known.finding(check)
        is_made = finding is not None and finding.passes is not None
        if is_made or check.name == DUPLICATE:
            continue
        if check.name == COMMAND and _is_out(checks, known):
            continue
        yield check


def _is_out(checks: Iterable[Check], known: Judgement) -> bool:
    return any(
        finding.passes is False
        for check in checks
        if check.then in _FINAL
        for finding in [known.finding(check)]
        if finding is not None
    )


def marks_of(checks: Iterable[Check], known: Judgement) -> tuple[Mark, ...]:
    """Return what is shown of an output."""
    return tuple(_marks_of(checks, known))


def _marks_of(checks: Iterable[Check], known: Judgement) -> Iterator[Mark]:
    for check in checks:
        finding = known.finding(check)
        if finding is None or finding.passes:
            continue
        verdict: Action | Literal["unchecked"] = check.then
        if finding.passes is None:
            verdict = UNCHECKED
        yield Mark(check.name, verdict, finding.reason)


@dataclass(slots=True)
class Totals:
    """Counts of outputs by their marks: the fields of ``ChecksRow``."""

    checked: int = 0
    flagged: int = 0
    rejected: int = 0
    failed: int = 0
    unchecked: int = 0
    by_check: dict[str, int] = field(default_factory=dict)

    def add(self, marks: Iterable[Mark]) -> None:
        """Count an output whose checks were made, or could not be made."""
        verdicts = {mark.verdict for mark in marks}
        self.checked += UNCHECKED not in verdicts
        self.flagged += "flag" in verdicts
        self.rejected += "reject" in verdicts
        self.failed += "fail" in verdicts
        self.unchecked += UNCHECKED in verdicts
        for mark in marks:
            if mark.verdict != UNCHECKED:
                self.by_check[mark.check] = self.by_check.get(mark.check, 0) + 1
