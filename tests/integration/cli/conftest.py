"""The command, and local gateways for it to talk to."""

from tests.harness.commands import (
    cli,
    gateway,
    lonely_cli,
    one_command_tree,
    report_of,
    slow_cli,
    slow_gateway,
)
from tests.harness.missing_refunds import dishonest

__all__ = [
    "cli",
    "dishonest",
    "gateway",
    "lonely_cli",
    "one_command_tree",
    "report_of",
    "slow_cli",
    "slow_gateway",
]
