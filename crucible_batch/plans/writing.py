"""``plan.json`` to disk: streamed row by row, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from crucible_batch.core.saved_plan import PlanHead, PlanRow
from crucible_batch.errors import SavedPlanError, UserError
from crucible_batch.plans.codec import CLOSE, DIGEST, END_OF_JOBS, JOBS, MAX_LINE_BYTES, adapter_of


def write_saved_plan(target: Path, head: PlanHead, rows: Iterable[PlanRow]) -> str:
    """Write a plan, replacing the file that is there, and return its digest. The same plan makes the same file.

    Raises ``UserError`` where it can't be written; then what was there is untouched.
    """
    real = Path(os.path.realpath(target))
    if real.exists() and not real.is_file():
        raise UserError(f"{target} is no regular file", hint="name a file for the plan: -o plan.json")
    temporary = real.with_name(f".{real.name}.{os.getpid()}.part")
    try:
        digest = _write(temporary, head, rows)
        temporary.replace(real)
    except OSError as error:
        raise UserError(f"the plan can't be written to {target}: {error.strerror}", hint="name another -o") from error
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def _write(path: Path, head: PlanHead, rows: Iterable[PlanRow]) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for line in _lines(head, rows):
            digest.update(line)
            file.write(line)
        file.write(f"{DIGEST.format(digest.hexdigest())}\n".encode() + CLOSE + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _lines(head: PlanHead, rows: Iterable[PlanRow]) -> Iterator[bytes]:
    yield _json(head, indent=2).removesuffix(b"\n}") + b",\n"
    yield JOBS
    separator = b"\n"
    for row in rows:
        text = _json(row)
        if len(text) > MAX_LINE_BYTES - 8:  # its indent, its comma, its end
            raise UserError(f"job {row.name!r} is too large for a saved plan", hint="run the manifest itself")
        yield separator + b"    " + text
        separator = b",\n"
    yield b"\n" + END_OF_JOBS + b"\n"


def _json(value: PlanHead | PlanRow, indent: int | None = None) -> bytes:
    try:
        return adapter_of(type(value)).dump_json(value, indent=indent)
    except ValueError as error:  # half of a surrogate pair: a file name that is no UTF-8
        raise SavedPlanError(f"a plan can't hold this as JSON: {error}", hint="rename the file to UTF-8") from error
