"""``run --bell``: on a terminal, and only if nobody was likely to be looking."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from crucible_batch.cli.run_session import ring


@pytest.mark.parametrize(
    ("is_terminal", "took_s", "rung"), [(True, 60.5, "\x07"), (True, 60.0, ""), (False, 3600.0, "")]
)
def test_the_bell_rings_on_a_terminal_after_a_minute(
    is_terminal: bool, took_s: float, rung: str
) -> None:
    stream = io.StringIO()
    ring(Console(file=stream, force_terminal=is_terminal), took_s)
    assert stream.getvalue() == rung
