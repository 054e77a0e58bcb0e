"""Writes the results of campaigns into the documentation, between markers: ``make figures``.

The README gets a summary, ``docs/reliability/results.md`` the table of the newest campaign's rows,
and the sums over all campaigns. The files that are given, and those in ``docs/reliability/``, are
added to the sums first: ``python -m tests.verification.campaign.figures FILE...``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.verification.campaign import totals
from tests.verification.campaign.rows import ROOT, ROWS

README = ROOT / "README.md"
CAMPAIGNS = ROOT / "docs" / "reliability"
RESULTS = CAMPAIGNS / "results.md"
FIGURES = ("<!-- figures: made by make figures -->", "<!-- /figures -->")
SUMS = ("<!-- totals: made by make figures -->", "<!-- /totals -->")
NO_CAMPAIGN = (
    "There are no campaign results in this repository yet. "
    "Run `make campaign`, then `make figures`."
)
_ZEROS = {
    "double charges": "double charges",
    "lost outputs": "lost outputs",
    "over budget": "budget overruns",
}
_COUNTS = {"noticed": "detected", "argued": "accepted with a reason", "survived": "not detected"}
"""How the page names a count, where it differs from the name in the campaign's file."""


def campaigns() -> list[Path]:
    """The files of all campaigns, oldest first: their names sort by date."""
    return sorted(CAMPAIGNS.glob("campaign-*.json"))


def summary() -> str:
    """The newest campaign and the sums over all, for the README."""
    if not campaigns():
        return NO_CAMPAIGN
    told, parts = _newest(), totals.load()
    sums = totals.sums(parts)
    return (
        f"Newest campaign ({told['started_at'][:10]}): {_outcome(told)} "
        f"All published campaigns since {parts[0]['started_at'][:10]}: {sums['kills']:,} kills, "
        f"{sums['faults']:,} simulated faults and {sums['virtual days']:,} virtual days, "
        f"{sums['failures']} failures."
    )


def results() -> str:
    """The newest campaign row by row, for the page of results."""
    return "\n".join(_results(_newest())) if campaigns() else NO_CAMPAIGN


def all_campaigns() -> str:
    """The sums over all campaigns by revision, for the page of results."""
    return "\n".join(totals.table(totals.load()))


def _newest() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(campaigns()[-1].read_text(encoding="utf-8"))
    return told


def _outcome(told: Mapping[str, Any]) -> str:
    found, counts, planted = told["totals"]["found"], told["totals"]["counts"], told["planted"]
    zeros = ", ".join(f"{found[kind]} {name}" for kind, name in _ZEROS.items())
    return (
        f"**{zeros}** in {counts.get('kills', 0):,} kills "
        f"and {counts.get('faults', 0):,} simulated faults. "
        f"{planted['caught']} of {planted['bugs']} deliberately planted bugs were detected."
    )


def _results(told: Mapping[str, Any]) -> Iterator[str]:
    file, titles = campaigns()[-1].name, {row.number: row.title for row in ROWS}
    yield (
        f"Campaign of {told['started_at'][:10]} ([{file}]({file})), "
        f"revision `{told['revision'][:9]}`, {told['took_s'] // 60} minutes on "
        f"{told['machine']['cpus']} CPU cores: {_outcome(told)}{_run_again(told)}"
    )
    yield ""
    yield "| # | test | extent | failures |"
    yield "|---|---|---|---|"
    for row in told["rows"]:
        extent = ", ".join(
            f"{count:,} {_COUNTS.get(name, name)}" for name, count in row["counts"].items()
        )
        failures = ", ".join(f"{count} {kind}" for kind, count in row["found"].items() if count)
        yield f"| {row['row']} | {titles[row['row']]} | {extent} | {failures or 0} |"


def _run_again(told: Mapping[str, Any]) -> str:
    """The rows that were run again later, with more time or with a fault fixed, each with its
    revision."""
    again = [f"{row['row']} (`{row['revision'][:9]}`)" for row in told["rows"] if "revision" in row]
    return (
        f" Rows run again later, as [Test regime](regime.md) states: {', '.join(again)}."
        if again
        else ""
    )


def placed(page: str, figures: str, markers: tuple[str, str] = FIGURES) -> str:
    """The page with the figures between two markers.

    Raises ``ValueError`` if a marker is missing.
    """
    begin, end = markers
    before, _, rest = page.partition(f"{begin}\n")
    _, marker, after = rest.partition(end)
    if not marker:
        raise ValueError(f"the page has no place for figures: {begin} and {end}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


PLACES: Sequence[tuple[Path, tuple[str, str], Callable[[], str]]] = (
    (README, FIGURES, summary),
    (RESULTS, FIGURES, results),
    (RESULTS, SUMS, all_campaigns),
)
"""Each place for figures, and the function that writes them."""


def main(files: Sequence[str]) -> int:
    parts = totals.load()
    for file in (*campaigns(), *map(Path, files)):
        parts = totals.added(parts, json.loads(file.read_text(encoding="utf-8")))
    totals.save(parts)
    for page, markers, figures in PLACES:
        text = page.read_text(encoding="utf-8")
        page.write_text(placed(text, figures(), markers), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
