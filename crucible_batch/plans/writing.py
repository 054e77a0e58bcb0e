"""``plan.json`` to disk: streamed row by row, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from crucible_batch.core.saved_plan import PlanHead, PlanRow
from crucible_batch.errors import SavedPlanError, UserError
from crucible_batch.plans.codec import CLOSE, DIGEST, END_OF_JOBS, JOBS, MAX_LINE_BYTES, adapter_of
from crucible_batch.plans.reading import looks_like_a_plan
from crucible_batch.targets import check_target, replacing


def check_plan_target(target: Path, *, force: bool = False) -> None:
    """Refuse to write a plan over anything but a saved plan, unless ``force``; never through a link.

    Raises ``UserError``.
    """
    check_target(target, "a saved plan", looks_like_a_plan, force=force)


def write_saved_plan(target: Path, head: PlanHead, rows: Iterable[PlanRow], *, force: bool = False) -> str:
    """Write a plan, replacing the one that is there, and return its digest. The same plan makes the same file.

    Raises ``UserError`` where it can't be written, or may not be (``check_plan_target``); then what was there is
    untouched.
    """
    check_plan_target(target, force=force)
    digest = hashlib.sha256()
    try:
        with replacing(target) as file:
            for line in _lines(head, rows):
                digest.update(line)
                file.write(line)
            file.write(f"{DIGEST.format(digest.hexdigest())}\n".encode() + CLOSE + b"\n")
    except OSError as error:
        raise UserError(f"the plan can't be written to {target}: {error.strerror}", hint="name another -o") from error
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
