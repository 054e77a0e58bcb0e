"""``check -q`` prints one line, and only where outputs differ."""

from __future__ import annotations

import logging

import pytest

from tests.harness.commands import Cli


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    root, ours = logging.getLogger(), logging.getLogger("crucible_batch")
    before = list(root.handlers), ours.level
    yield
    root.handlers, ours.level = before


def test_a_quiet_verify_says_in_one_line_what_it_found(cli: Cli) -> None:
    cli.write("checked")
    assert cli("run", "checked.yaml", "-q").code == 0
    assert (cli("check", "outputs/checked/default", "--outputs", "-q").err) == ""
    (cli.cwd / "outputs/checked/default/fox/0.png").unlink()
    done = cli("check", "outputs/checked/default", "--outputs", "-q")
    assert (done.code, done.out) == (7, "")
    assert done.err == "check: DIFFERENCE: 1 of 1 outputs differ from the journal (exit code 7)\n"
