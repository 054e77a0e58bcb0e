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

__all__ = ["cli", "gateway", "lonely_cli", "one_command_tree", "report_of", "slow_cli", "slow_gateway"]
