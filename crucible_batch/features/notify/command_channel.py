"""A program as a channel: it reads the message as JSON from stdin. What it prints is logged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.core.redaction import clean_message
from crucible_batch.features.notify.http_channels import SendError
from crucible_batch.features.notify.messages import RunMessage
from crucible_batch.runs.programs import GRACE_S, TIME_LIMIT_S, Program, ProgramError

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Command:
    """A command of the manifest.

    ``words`` are the program and its arguments; they are never changed by the message.
    """

    source: str
    words: Sequence[str]
    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    kind: str = "command"
    time_limit_s: float = TIME_LIMIT_S
    grace_s: float = GRACE_S

    @property
    def limit_s(self) -> float:
        """The limit of a delivery, with a second for the program's start and its last output."""
        return self.time_limit_s + self.grace_s + 2.0

    async def send(self, message: RunMessage) -> None:
        """Run the command to its end.

        Raises ``SendError`` if it fails or takes too long; a command runs once.
        """
        output = bytearray()
        program = Program(self.words, self.directory, self.environ, self.time_limit_s, self.grace_s)
        try:
            code = await program.run(message.to_json() + b"\n", output)
        except ProgramError as error:
            raise SendError(f"can't be started: {error}", is_final=True) from None
        finally:
            if output:
                logger.info("%s: %s", self.source, clean_message(output.decode("utf-8", "replace")))
        if code is None:
            raise SendError(
                f"did not end within {self.time_limit_s:.0f} s and was stopped", is_final=True
            )
        if code:
            how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
            raise SendError(how, is_final=True)
