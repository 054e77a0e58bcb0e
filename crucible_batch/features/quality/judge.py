"""The program of a manifest that judges an output.

It reads the output's file and job as JSON from stdin. 0 accepts the output, 10 rejects it; anything
else is shown, and rejects nothing: a program that is broken must not reject what was paid for.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.redaction import clean_message
from crucible_batch.features.quality.rule import Check, CheckResult
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.programs import TIME_LIMIT_S, Program, ProgramError

_REJECTED = 10
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks the program. ``directory`` is the manifest's folder."""

    store: OutputStore
    terms: RunTerms
    directory: Path
    environ: Mapping[str, str] = field(repr=False)

    async def find(self, check: Check, planned: PlannedJob, saved: Saved) -> CheckResult:
        """Return what the program decides. Raises ``OSError`` if there is no such file."""
        limit_s = check.timeout_s or TIME_LIMIT_S
        program = Program(check.words, self.directory, self.environ, limit_s)
        output = bytearray()
        async with self._file(saved) as file:
            message = json.dumps(self._message(planned, saved, file)).encode() + b"\n"
            try:
                code = await program.run(message, output)
            except ProgramError as error:
                return _not_made(check, f"can't be started: {error}", output)
        if code == 0:
            return CheckResult(check.name, check.definition, passes=True)
        if code == _REJECTED:
            reason = _printed(output) or f"rejected by {_shown(check)}"
            return CheckResult(check.name, check.definition, passes=False, reason=reason)
        if code is None:
            how = f"did not end within {limit_s:g} s and was stopped"
        elif code < 0:
            how = f"was ended by signal {-code}"
        else:
            how = f"exit code {code}"
        return _not_made(check, how, output)

    def _message(self, planned: PlannedJob, saved: Saved, file: Path) -> dict[str, object]:
        return {
            "version": 1,
            "manifest": self.terms.manifest_name,
            "run_id": self.terms.run_id,
            "job": planned.name,
            "index": saved.index,
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


def _shown(check: Check) -> str:
    return clean_message(check.words[0], 80)


def _printed(output: bytearray) -> str:
    """Return the first line that a program has printed, without what a terminal would obey."""
    text = output.decode("utf-8", "replace").strip()
    if not text:
        return ""
    return clean_message(text.splitlines()[0], _LONGEST_REASON)


def _not_made(check: Check, how: str, output: bytearray) -> CheckResult:
    reason = f"{_shown(check)}: {how}"
    printed = _printed(output)
    if printed:
        reason = f"{reason}: {printed}"
    return CheckResult(check.name, check.definition, passes=None, reason=reason)
