"""The current command line as the text of a next command."""

from __future__ import annotations

import sys

import pytest

from crucible_batch.cli.command_line import again, refuse_hosts
from crucible_batch.errors import UserError
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


@each_case(
    "words, is_refused",
    [
        (["run", "m.yaml", "--out-dir", "file://nas/winter"], True),
        (["run", "m.yaml", "--out-dir=FILE://nas/winter"], True),
        (["status", "file://nas/winter"], True),
        (["status", "file:///nas/winter"], False),
        (["run", "m.yaml", "--var", "page=file://nas/winter"], False),
        (["run", "m.yaml", "--out-dir", "s3://nas/winter"], False),
    ],
)
def test_the_host_of_a_file_url_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: list[str], is_refused: bool
) -> None:
    """As a path, which options are, it would be the first folder."""
    monkeypatch.setattr(sys, "argv", ["crucible-batch", *words])
    if not is_refused:
        refuse_hosts()
        return
    with pytest.raises(UserError, match="has a host"):
        refuse_hosts()
