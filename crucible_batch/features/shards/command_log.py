"""Commands to a run whose shards are on many machines: numbered objects beside its logs.

    .crucible/commands/00000001.json

Each is created only if no object has its number, and is never changed. Every shard that runs asks
for the next number, whatever has started it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.control import ControlCommand, ControlSource
from crucible_batch.engine import Clock
from crucible_batch.errors import ControlError
from crucible_batch.features.shards.command_rule import GivenControl
from crucible_batch.outputs import ObjectPort

COMMANDS = ".crucible/commands"


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """One object: a command to the shards of ``plan``. ``at`` is seconds since the epoch."""

    at: float
    plan: str
    source: ControlSource
    command: ControlCommand
    version: int = 1


_STORED: TypeAdapter[StoredCommand] = TypeAdapter(StoredCommand)


@dataclass(slots=True)
class StoredCommands:
    """The commands to the shards of one plan, as far as they were read."""

    objects: ObjectPort
    plan: str
    clock: Clock
    _read: list[StoredCommand] = field(default_factory=list)

    async def given(self) -> list[GivenControl]:
        """Read what is new, and return all commands to the plan, oldest first.

        A deadline counts from when it was given: the clocks of the machines must agree as closely
        as it is to be kept. Raises ``ControlError`` if one can't be read, and ``ObjectStoreError``.
        """
        while (content := await self.objects.read(_key(len(self._read) + 1))) is not None:
            try:
                self._read.append(_STORED.validate_json(content))
            except ValidationError as error:
                raise ControlError(
                    f"{self.objects.address(_key(len(self._read) + 1))} can't be read",
                    hint="it was edited or is damaged: restore it; nothing is bought until then",
                ) from error
        now = self.clock.now()
        return [
            GivenControl(number, each.command, each.source, max(0.0, now - each.at))
            for number, each in enumerate(self._read, 1)
            if each.plan == self.plan
        ]

    async def after(self, number: int) -> list[GivenControl]:
        """Return the commands after this one. Raises as ``given`` does."""
        return [each for each in await self.given() if each.number > number]

    async def add(self, command: ControlCommand, source: ControlSource) -> int:
        """Add a command after all others, and return its number. Raises as ``given`` does."""
        content = _STORED.dump_json(StoredCommand(self.clock.now(), self.plan, source, command))
        while True:
            await self.given()
            number = len(self._read) + 1
            if await self.objects.create(_key(number), content):
                return number


def _key(number: int) -> str:
    return f"{COMMANDS}/{number:08}.json"
