"""The engine: commands performed, events journalled, one loop."""

from crucible_batch.engine.clock import Clock, SystemClock
from crucible_batch.engine.runner import Runner, RunOptions

__all__ = ["Clock", "RunOptions", "Runner", "SystemClock"]
