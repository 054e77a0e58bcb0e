"""When a job that the gateway reports failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass

HOPELESS_CODES = frozenset(
    {
        "INVALID_PARAMS",
        "INVALID_REQUEST",
        "INVALID_INPUT",
        "UNSUPPORTED_IMAGE",
        "MODERATION_REFUSED",
        "MODERATION_BLOCKED",
        "CONTENT_POLICY_VIOLATION",
        "CONTENT_MODERATED",
        "NSFW_CONTENT",
        "SAFETY_REJECTED",
    }
)
"""Failures that another attempt can't mend: the same content is refused again. The contract lists no such codes, so
these are the usual words; ``retry.never`` in the manifest adds to them."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How many attempts a job has in all (at least 1), and after which error codes it has no other."""

    attempts: int = 3
    never: frozenset[str] = HOPELESS_CODES

    def allows_another(self, attempt: int, code: str) -> bool:
        """Whether another attempt follows the failure of attempt number ``attempt`` (from 1) with ``code``."""
        return attempt < self.attempts and code.upper() not in self.never
