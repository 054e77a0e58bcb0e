"""Writes the results of the newest campaign into the documentation, between two markers: ``make
figures``.

The README gets a summary, ``docs/reliability/results.md`` the table of all rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.verification.campaign.rows import ROOT, ROWS

README = ROOT / "README.md"
CAMPAIGNS = ROOT / "docs" / "reliability"
RESULTS = CAMPAIGNS / "results.md"
BEGIN, END = "<!-- figures: made by make figures -->", "<!-- /figures -->"
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
    """The newest campaign in two sentences, for the README."""
    if not campaigns():
        return NO_CAMPAIGN
    told = _newest()
    return f"Newest campaign ({told['started_at'][:10]}): {_outcome(told)}"


def results() -> str:
    """The newest campaign row by row, for the page of results."""
    return "\n".join(_results(_newest())) if campaigns() else NO_CAMPAIGN


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


def placed(page: str, figures: str) -> str:
    """The page with the figures between its markers.

    Raises ``ValueError`` if a marker is missing.
    """
    before, _, rest = page.partition(f"{BEGIN}\n")
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"the page has no place for figures: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


PAGES = {README: summary, RESULTS: results}
"""Each page with figures, and the function that writes them."""


def main() -> int:
    for page, figures in PAGES.items():
        page.write_text(placed(page.read_text(encoding="utf-8"), figures()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
