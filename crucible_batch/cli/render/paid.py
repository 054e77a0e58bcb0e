"""What earlier runs of the account paid, in a plan whose run directory knows no price yet."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.text import Text

from crucible_batch.api import PriceLine, clean, format_credits
from crucible_batch.cli.answer import rfc3339
from crucible_batch.cli.terminal import Json

_MOST_SHOWN = 8


def paid_facts(lines: Sequence[PriceLine]) -> list[tuple[str, Text]]:
    """Return a fact for each price that an earlier run paid, the first ones if there are many."""
    known = [line for line in lines if line.paid is not None]
    facts = [("estimate", _words(line)) for line in known[:_MOST_SHOWN]]
    return facts + ([("estimate", Text(f"and {len(known) - _MOST_SHOWN} more"))] if len(known) > _MOST_SHOWN else [])


def _words(line: PriceLine) -> Text:
    assert line.paid is not None  # the caller's choice
    each, day = line.paid.credits, time.strftime("%Y-%m-%d", time.localtime(line.paid.at))
    params = " ".join(f"{name}={value}" for name, value in sorted(line.params.items()))
    what = clean(f"{line.what} {params}".strip(), 60)
    total = f"{line.count} × {format_credits(each)} = {format_credits(each * line.count)}"
    return Text(f"{what}: {total}; last paid {format_credits(each)} on {day} (run {clean(line.paid.run, 80)})")


def paid_json(line: PriceLine) -> Json:
    """Return what an earlier run paid for one, when, and in which run; None if nothing is remembered."""
    paid = line.paid
    return None if paid is None else {"credits": format_credits(paid.credits), "at": rfc3339(paid.at), "run": paid.run}
