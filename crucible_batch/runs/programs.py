"""Programs that a manifest names: they read one message as JSON from stdin.

A program runs without a shell, in the manifest's folder, in a process group of its own, and without
the API key in its environment. Running one needs the user's consent (``--allow-command``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from crucible_batch.core.redaction import clean

ALLOW_COMMAND = "--allow-command"
"""The option by which the user consents to running the programs that a manifest names."""
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


def unusable_program(program: str, directory: Path, *, allow_command: bool) -> str | None:
    """Return why a program of a manifest in ``directory`` will not be run; None if it can be.

    ``allow_command`` is the user's consent.
    """
    shown = clean(program, 200)
    if not allow_command:
        return f"running {shown} needs your consent: add {ALLOW_COMMAND}"
    if find_program(program, directory) is None:
        return f"{shown} is not an executable program"
    return None


class ProgramError(Exception):
    """A program that can't be started. The message is the reason, as the system has it."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its arguments, which no message changes."""

    words: Sequence[str]
    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    time_limit_s: float = TIME_LIMIT_S
    grace_s: float = GRACE_S

    async def run(self, text: bytes, output: bytearray) -> int | None:
        """Run it to its end, and return the exit code; None if the time limit has passed.

        ``output`` receives the first bytes printed, also if an exception is raised. The exit code
        is negative if a signal ended it. Raises ``ProgramError`` if it can't be started.
        """
        try:
            return await self._run(text, output)
        except (OSError, ValueError) as error:
            reason = "invalid arguments"
            if isinstance(error, OSError) and error.strerror:
                reason = error.strerror
            raise ProgramError(reason.lower()) from None

    async def _run(self, text: bytes, output: bytearray) -> int | None:
        """As ``run``. The pipe of the output is not asyncio's own, with which it would wait for
        processes that the program left behind.
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
