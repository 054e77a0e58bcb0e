"""The engine: commands performed, events journalled, one loop."""

from crucible_batch.engine.clock import Clock, SystemClock
from crucible_batch.engine.options import DEFAULT_KEY_TTL_S, RunOptions
from crucible_batch.engine.restore import restore
from crucible_batch.engine.runner import Runner
from crucible_batch.engine.slots import Slots

__all__ = ["DEFAULT_KEY_TTL_S", "Clock", "RunOptions", "Runner", "Slots", "SystemClock", "restore"]
