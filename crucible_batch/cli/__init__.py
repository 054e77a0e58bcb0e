"""The ``crucible-batch`` command: parse, call the API, render. The commands are in ``run``, ``look`` and ``start``."""

from crucible_batch.cli.app import main

__all__ = ["main"]
