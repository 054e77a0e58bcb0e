"""Writes the figures of the newest campaign into the README, between two markers: ``make figures``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
CAMPAIGNS = ROOT / "docs" / "reliability"
BEGIN, END = "<!-- figures: made by make figures -->", "<!-- /figures -->"
_ZEROS = {"double charges": "charged twice", "lost outputs": "outputs lost", "over budget": "over budget"}


NONE_YET = "No campaign is on record here yet: `make campaign`, then `make figures`."


def campaigns() -> list[Path]:
    """The files of all campaigns, oldest first: their names sort by date."""
    return sorted(CAMPAIGNS.glob("campaign-*.json"))


def render() -> str:
    """The figures of the newest campaign, as Markdown."""
    if not campaigns():
        return NONE_YET
    file = campaigns()[-1]
    told = json.loads(file.read_text(encoding="utf-8"))
    return "\n".join(_lines(told, file.relative_to(ROOT).as_posix()))


def _lines(told: Mapping[str, Any], path: str) -> Iterator[str]:
    found, counts = told["totals"]["found"], told["totals"]["counts"]
    zeros = ", ".join(f"{words} {found[kind]}" for kind, words in _ZEROS.items())
    yield (
        f"The newest campaign, [{path}]({path}): {told['started_at'][:10]}, revision `{told['revision'][:9]}`,"
        f" {told['took_s'] // 60} minutes on {told['machine']['cpus']} cores. **{zeros.capitalize()}**,"
        f" in {_number(counts, 'kills')} kills and {_number(counts, 'faults')} simulated faults."
        f" Of {told['planted']['bugs']} planted bugs, {told['planted']['caught']} were caught.{_played_again(told)}"
    )
    yield ""
    yield "| # | what was tried | how often | found |"
    yield "|---|---|---|---|"
    for row in told["rows"]:
        tried = ", ".join(f"{count:,} {name}" for name, count in row["counts"].items())
        wrong = ", ".join(f"{count} {kind}" for kind, count in row["found"].items() if count)
        yield f"| {row['row']} | {row['test']} | {tried} | {wrong or 0} |"


def _played_again(told: Mapping[str, Any]) -> str:
    """Which rows were played once more, since they had too little time, and of which revision."""
    again = [f"{row['row']} (`{row['revision'][:9]}`)" for row in told["rows"] if "revision" in row]
    return f" Played once more, with more time: rows {', '.join(again)}." if again else ""


def _number(counts: Mapping[str, int], name: str) -> str:
    return f"{counts.get(name, 0):,}"


def placed(readme: str, figures: str) -> str:
    """The README with the figures in it. Raises ``ValueError`` where a marker is missing."""
    before, _, rest = readme.partition(f"{BEGIN}\n")
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"the README has no place for figures: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def main() -> int:
    README.write_text(placed(README.read_text(encoding="utf-8"), render()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
