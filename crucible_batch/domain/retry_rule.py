"""Whether a job that the gateway reports as failed gets another attempt."""

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
"""Failures that another attempt can't change: the same content is refused again. The contract lists no such codes;
these are the usual ones, and ``retry.never`` in the manifest adds to them."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """The number of attempts at a job (at least 1), and the error codes after which there is no other attempt."""

    attempts: int = 3
    never: frozenset[str] = HOPELESS_CODES

    def allows_another(self, attempt: int, code: str) -> bool:
        """Whether another attempt follows when attempt number ``attempt`` (from 1) fails with ``code``."""
        return attempt < self.attempts and code.upper() not in self.never
