"""The current command line as the text of a next command."""

from __future__ import annotations

import sys

import pytest

from crucible_batch.cli.command_line import again
from tests.harness.case_table import each_case


@each_case(
    "words, shown",
    [
        (["--proxy", "http://user:secret@relay:3128"], "--proxy 'http://user:***@relay:3128'"),
        (["--proxy=https://user:se@cr:et@relay"], "'--proxy=https://user:***@relay'"),
        (["--proxy", "http://relay:3128"], "--proxy http://relay:3128"),
        (["--var", "at=http://user:name@host"], "--var at=http://user:name@host"),
    ],
)
def test_the_password_of_a_proxy_is_masked(
    monkeypatch: pytest.MonkeyPatch, words: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["crucible-batch", "plan", "m.yaml", *words])
    assert again(instead_of="run") == f"crucible-batch run m.yaml {shown}"
