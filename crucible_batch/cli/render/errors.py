"""Errors for people: what, where, and what to do about it."""

from __future__ import annotations

from rich.console import Console

from crucible_batch.api import clean
from crucible_batch.cli.answer import Json
from crucible_batch.cli.render.problems import problem_json, show_problems
from crucible_batch.cli.terminal import advise, say, tell
from crucible_batch.codes import find_code
from crucible_batch.errors import (
    CrucibleBatchError,
    GatewayError,
    KeyRefusedError,
    ManifestError,
    StalePlanError,
    UserError,
)


def show_error(console: Console, error: CrucibleBatchError) -> None:
    """Show an error as its kind wants it."""
    if isinstance(error, ManifestError):
        show_problems(console, error)
        return
    if isinstance(error, StalePlanError):
        _show_moves(console, error)
        return
    where = f" [HTTP {error.status}]" if isinstance(error, GatewayError) and error.status else ""
    tell(console, ("error ", "bad"), (f"{clean(error.code, 60)}: ", "strong"), f"{clean(error.message)}{where}")
    if error.hint:
        advise(console, "hint", clean(error.hint))
    if isinstance(error, KeyRefusedError) and error.status is not None:
        advise(console, "hint", "check MOLTAZINE_API_KEY; crucible-batch doctor says where it was found")
    if isinstance(error, GatewayError) and error.request_id:
        advise(console, "request id", clean(error.request_id, 100))
    if error.code != UserError.code and find_code(error.code) is not None:
        advise(console, "more", f"crucible-batch explain {error.code}")


def problems_of(error: CrucibleBatchError) -> Json | None:
    """Return a manifest's problems, or what moved since a plan was saved, as JSON; None for any other error."""
    if isinstance(error, StalePlanError):
        moves: list[Json] = [{"kind": it.kind, "name": it.name, "message": it.message} for it in error.moves]
        return {"moved": moves, "omitted": error.omitted}
    if not isinstance(error, ManifestError):
        return None
    return {"problems": [problem_json(problem) for problem in error.problems], "omitted": error.omitted}


def _show_moves(console: Console, error: StalePlanError) -> None:
    plan = clean(str(error.plan), 4000)
    tell(console, ("error ", "bad"), f"{plan} no longer holds; since it was made, this has moved:")
    for move in error.moves:
        say(console, "  ", clean(move.message))
    count = len(error.moves) + error.omitted
    more = f", {error.omitted} of them not shown" if error.omitted else ""
    tell(console, (f"{count} move{'s' if count != 1 else ''}{more}; nothing was spent", "bad"))
    if error.hint:
        advise(console, "hint", clean(error.hint))
