"""The engine: commands performed, events journalled, one loop."""

from crucible_batch.core.engine_options import EngineOptions
from crucible_batch.engine.clock import Clock, SystemClock
from crucible_batch.engine.run_control import RunControl
from crucible_batch.engine.runner import Runner
from crucible_batch.engine.runner_ports import Judged, RunnerPorts
from crucible_batch.engine.slots import Slots
