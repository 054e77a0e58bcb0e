"""Text from outside, made safe to show: the core's, under the name by which the gateway's modules know it."""

from crucible_batch.core.text import CODE_LIMIT, MESSAGE_LIMIT, clean

__all__ = ["CODE_LIMIT", "MESSAGE_LIMIT", "clean"]
