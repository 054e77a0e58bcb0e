"""A gateway that refunds nothing."""

from tests.harness.missing_refunds import dishonest

__all__ = ["dishonest"]
