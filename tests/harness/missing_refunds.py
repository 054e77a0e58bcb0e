"""A gateway that refunds nothing, for commands."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, running_sandbox

AT_ONCE = ("--wait-for-gateway", "0")


@pytest.fixture
def dishonest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command at a gateway that lets each job fail, and refunds none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with running_sandbox("--time-scale", "0", "--faults", "fail:1,refund-missing:1") as url:
        yield Cli(tmp_path, url)


def ask(cli: Cli, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{cli.url}/_sandbox/{path}", data) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def reserved(cli: Cli) -> Decimal:
    return sum(
        (row["amount"] for row in ask(cli, "state")["ledger"] if row["entry_type"] == "reserve"),
        Decimal(0),
    )
