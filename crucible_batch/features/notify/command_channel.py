"""A program as a channel: it reads the message as JSON from stdin.

It runs without a shell, in the manifest's folder, in a process group of its own, and without the
API key in its environment. What it prints is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from crucible_batch.core.redaction import clean_message
from crucible_batch.features.notify.http_channels import SendError
from crucible_batch.features.notify.messages import RunMessage

logger = logging.getLogger(__name__)

TIME_LIMIT_S = 60.0
GRACE_S = 5.0
"""The time between SIGTERM and SIGKILL, in seconds."""
_OUTPUT_LIMIT = 4096
_AFTER_EXIT_S = 1.0
"""How long output is read after the program's end: a process that it left behind may keep the pipe
open.
"""


def environment_of_commands(
    environ: Mapping[str, str], key_variable: str, api_key: str | None
) -> Mapping[str, str]:
    """Return the environment of commands: without the API key, under whatever name."""
    known = {name: value for name, value in environ.items() if name != key_variable}
    if not api_key:
        return known
    return {name: value for name, value in known.items() if api_key not in value}


def find_program(program: str, directory: Path) -> Path | None:
    """Return the path of a command's program; None if it isn't an executable file.

    A name with a slash is relative to ``directory``, any other is looked up in ``PATH``.
    """
    if "/" in program:
        program = str(directory / program)
    found = shutil.which(program)
    return None if found is None else Path(found)


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
        try:
            code = await self._run(message.to_json() + b"\n", output)
        except (OSError, ValueError) as error:
            reason = "invalid arguments"
            if isinstance(error, OSError) and error.strerror:
                reason = error.strerror
            raise SendError(f"can't be started: {reason.lower()}", is_final=True) from None
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

    async def _run(self, text: bytes, output: bytearray) -> int | None:
        """Return the exit code; None if the time limit has passed.

        ``output`` receives the first bytes printed. The pipe of the output is not asyncio's own,
        with which it would wait for processes that the program left behind. Raises ``OSError`` and
        ``ValueError`` if the program can't be started.
        """
        receiving, sending = os.pipe()
        with os.fdopen(receiving, "rb", 0) as pipe:
            try:
                process = await self._start(sending)
            finally:
                os.close(sending)
            reading = asyncio.create_task(_read(pipe, output))
            try:
                async with asyncio.timeout(self.time_limit_s):
                    await _write(process, text)
                    await process.wait()
                await asyncio.wait([reading], timeout=_AFTER_EXIT_S)
            except TimeoutError:
                return None
            finally:
                reading.cancel()
                await asyncio.wait([reading])
                await self._end(process)
        return process.returncode

    async def _start(self, output: int) -> asyncio.subprocess.Process:
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *self.words,
                cwd=self.directory,
                env=dict(self.environ),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # asyncio itself would stop the program, but not the rest of its process group.
            await self._end(await starting)
            raise

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Stop the program if it is still running: SIGTERM to its process group, then SIGKILL."""
        if process.returncode is not None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.grace_s):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            _signal_group(process.pid, signal.SIGKILL)
        await process.wait()


async def _write(process: asyncio.subprocess.Process, text: bytes) -> None:
    """Write the message to stdin and close it. A program that doesn't read it is not an error."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text)
        await process.stdin.drain()
    process.stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()


async def _read(pipe: IO[bytes], output: bytearray) -> None:
    """Read the output to its end, and keep its beginning."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        block = await reader.read(_OUTPUT_LIMIT)
        while block:
            output += block[: _OUTPUT_LIMIT - len(output)]
            block = await reader.read(_OUTPUT_LIMIT)
    finally:
        transport.close()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
