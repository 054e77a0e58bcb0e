"""What a coordinator asks of an engine. What an engine reports is a hint; the logs have what was
done.
"""

from __future__ import annotations

from typing import Protocol

from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask


class Engine(Protocol):
    """Starts shards somewhere."""

    async def places(self) -> int:
        """Return how many shards can run at the same time now. Raises ``EngineError``."""

    async def run(self, task: ShardTask) -> ShardEnd:
        """Run a shard to its end. Raises ``EngineError``."""

    async def close(self) -> None:
        """Release what is left. It has no effect on what is bought."""


class EngineError(Exception):
    """An engine can't be reached, or has lost a shard. It is asked again."""
