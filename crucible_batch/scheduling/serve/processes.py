"""Runs as processes: each line of their output is reported with the manifest's name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

_CHUNK_BYTES = 65_536
_LONGEST_LINE_BYTES = 100_000


class RunProcesses:
    """Starts processes in sessions of their own, so that a Ctrl-C reaches them only through ``terminate``."""

    def __init__(self, output: Callable[[str, str], None]) -> None:
        self._output = output
        self._active: set[asyncio.subprocess.Process] = set()

    async def run(self, name: str, command: Sequence[str], directory: Path) -> int:
        """Run a command to its end, and return its exit code; negative for a signal. Raises ``OSError``."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._active.add(process)
        try:
            if process.stdout is not None:
                await self._report(name, process.stdout)
            return await process.wait()
        finally:
            self._active.discard(process)

    def terminate(self) -> None:
        """Send SIGTERM to each process: a run then stops, and another one resumes it."""
        for process in self._active:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    async def _report(self, name: str, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._output(name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._output(name, rest.decode(errors="replace"))
