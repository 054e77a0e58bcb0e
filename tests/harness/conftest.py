"""The command, for the tests of the forks that it runs in."""

from tests.harness.commands import cli, gateway, lonely_cli, one_command_tree

__all__ = ["cli", "gateway", "lonely_cli", "one_command_tree"]
