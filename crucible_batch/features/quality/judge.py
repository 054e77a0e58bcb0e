"""The program of a manifest that judges an output.

0 accepts the output, 10 rejects it; anything else is shown, and rejects nothing: a program that is
broken must not reject what was paid for.
"""

from __future__ import annotations

from dataclasses import dataclass

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.redaction import clean_message
from crucible_batch.features.quality.rule import Check, CheckResult
from crucible_batch.runs.output_programs import OutputPrograms

_REJECTED = 10


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks the program."""

    programs: OutputPrograms

    async def find(self, check: Check, planned: PlannedJob, saved: Saved) -> CheckResult:
        """Return what the program decides. Raises ``OSError`` if there is no such file."""
        end = await self.programs.run(check.words, check.timeout_s, planned, saved)
        if end.code == 0:
            return CheckResult(check.name, check.definition, passes=True)
        if end.code == _REJECTED:
            reason = end.printed or f"rejected by {clean_message(check.words[0], 80)}"
            return CheckResult(check.name, check.definition, passes=False, reason=reason)
        return CheckResult(check.name, check.definition, passes=None, reason=end.reason)
