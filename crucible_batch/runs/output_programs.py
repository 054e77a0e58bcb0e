"""Programs of a manifest that get an output of its run: file and job, as JSON from stdin."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.redaction import clean_message
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.programs import (
    TIME_LIMIT_S,
    Program,
    ProgramError,
    environment_of_commands,
)
from crucible_batch.settings import KEY_VARIABLE

_LONGEST_LINE = 200


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended.

    ``code`` is its exit code; None if it was not started, was stopped, or a signal ended it.
    ``words`` describe that, and ``printed`` is the first line that it printed; no terminal obeys
    either.
    """

    code: int | None
    words: str
    printed: str

    @property
    def reason(self) -> str:
        """Describe the end, with what was printed."""
        return f"{self.words}: {self.printed}" if self.printed else self.words


@dataclass(frozen=True, slots=True)
class OutputPrograms:
    """Runs programs of the manifest of one run. ``directory`` is the manifest's folder."""

    store: OutputStore
    terms: RunTerms
    directory: Path
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, run: RunContext) -> OutputPrograms:
        environ = environment_of_commands(os.environ, KEY_VARIABLE, run.settings.api_key)
        return cls(run.store, run.terms, run.manifest.directory, environ)

    async def run(
        self, words: Sequence[str], limit_s: float | None, planned: PlannedJob, saved: Saved
    ) -> ProgramEnd:
        """Run a program on an output, for ``limit_s`` seconds or a minute, and return its end.

        Raises ``OSError`` if there is no such file.
        """
        limit_s = limit_s or TIME_LIMIT_S
        program = Program(words, self.directory, self.environ, limit_s)
        name = clean_message(words[0], 80)
        output = bytearray()
        async with self._file(saved) as file:
            message = json.dumps(self._message(planned, saved, file)).encode() + b"\n"
            try:
                code = await program.run(message, output)
            except ProgramError as error:
                return ProgramEnd(None, f"{name}: can't be started: {error}", _first_line(output))
        how = f"exit code {code}"
        if code is None:
            how = f"did not end within {limit_s:g} s and was stopped"
        elif code < 0:
            how, code = f"was ended by signal {-code}", None
        return ProgramEnd(code, f"{name}: {how}", _first_line(output))

    def _message(self, planned: PlannedJob, saved: Saved, file: Path) -> dict[str, object]:
        return {
            "version": 1,
            "manifest": self.terms.manifest_name,
            "run_id": self.terms.run_id,
            "job": planned.name,
            "index": saved.index,
            "generation": planned.generation,
            "file": str(file),
            "path": saved.path,
            "sha256": saved.sha256,
            "mime_type": saved.mime_type,
            "width": saved.width,
            "height": saved.height,
            "workflow_id": planned.workflow_id,
            "prompt": planned.prompt,
            "params": dict(planned.params),
            "axes": dict(planned.axes),
            "row": dict(planned.row),
        }

    @asynccontextmanager
    async def _file(self, saved: Saved) -> AsyncIterator[Path]:
        """Yield the absolute path of an output: that of a copy, if outputs are in an object
        store."""
        if self.store.url is None:
            if not self.store.has(saved.path, saved.byte_size):
                raise FileNotFoundError(2, "no such file", saved.path)
            yield (self.store.directory / saved.path).absolute()
            return
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(saved.path).suffix) as copy:
            await asyncio.to_thread(self._copy, saved.path, copy)
            yield Path(copy.name)

    def _copy(self, path: str, copy: IO[bytes]) -> None:
        with self.store.open(path) as source:
            copyfileobj(source, copy)
        copy.flush()


def reason_of_file(error: Exception) -> str:
    """Describe why the file of an output could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return f"its file can't be read: {os.strerror(error.errno or 0) or error.strerror}"
    return f"its file can't be read: {type(error).__name__}"


def _first_line(output: bytearray) -> str:
    """Return the first line that a program has printed, without what a terminal would obey."""
    text = output.decode("utf-8", "replace").strip()
    if not text:
        return ""
    return clean_message(text.splitlines()[0], _LONGEST_LINE)
