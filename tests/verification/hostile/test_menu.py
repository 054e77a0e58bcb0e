"""Every behaviour at every exchange: the run ends and says why, holds what may be spent, and buys
nothing again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import CrucibleBatchError, ExitCode, GatewayError, ManifestError
from crucible_batch.runs.running import RunResult
from tests.verification.hostile.gateway import (
    EXCHANGES,
    KEY,
    SIGNATURE,
    STORAGE,
    HostileGateway,
    serving,
)
from tests.verification.hostile.menu import HANGING, MENU, REFUSING

# See tests/integration/engine/test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BEFORE_ANYTHING = {"credits", "workflow"}
"""Asked while nothing is bought: the run doesn't begin."""
ONLY_THERE = {
    "create_asset": {"ASSET_NOT_READY", "INSUFFICIENT_CREDITS"},
    "upload": {"ASSET_NOT_READY"},
    "asset": {"ASSET_NOT_READY"},
    "generate": {"INSUFFICIENT_CREDITS"},
    "job": {"JOB_TIMEOUT", "OUTPUT_UNAVAILABLE"},
    "download": {"OUTPUT_UNAVAILABLE"},
}
"""Codes that tell an exchange as well as its name does."""
COMES_OUT_LATER = {"create_asset": ("asset", "upload")}
"""What can be told of a lie only where it is acted on."""
ORPHANS = {("another id", "create_asset"): 1}
"""An upload whose id the gateway lies about can't be given back; its image is bought once more, and
never again."""
FOR_EVER = {("ten thousand outputs", "job")}
"""A job that once showed more outputs than it has: what it doesn't have is asked for, for nothing,
by every run.
"""


def _table() -> Iterator[Any]:
    """Each behaviour at each exchange.

    `make test` tries each behaviour at one, and so each exchange several times.
    """
    for row, behaviour in enumerate(MENU):
        for column, exchange in enumerate(EXCHANGES):
            is_quick = row % len(EXCHANGES) == column
            yield pytest.param(behaviour, exchange, marks=[] if is_quick else pytest.mark.slow)


@pytest.mark.parametrize(("behaviour", "exchange"), list(_table()))
async def test_no_answer_makes_a_run_hang_hide_or_buy_again(
    run, tmp_path: Path, caplog: pytest.LogCaptureFixture, exchange: str, behaviour: str
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = HostileGateway(exchange, MENU[behaviour], refuses=behaviour in REFUSING)
    async with serving(gateway):
        found = await _tried(run, gateway, timeout_s=0.3 if behaviour in HANGING else 10.0)
        assert gateway.asked[exchange] > 0, "the behaviour was never met"
        if isinstance(found, RunResult):
            _ended_well(found, gateway, exchange)
        else:
            _did_not_begin(found, gateway, exchange)
        orphans = ORPHANS.get((behaviour, exchange), 0)
        _bought_once(gateway, orphans)

        gateway.at = ""
        healed = await run(gateway, retry_failed=True)
        (row,) = healed.jobs()
        _bought_once(gateway, orphans)
        if (behaviour, exchange) in FOR_EVER:
            assert (row.error.code, len(row.outputs)) == ("OUTPUT_UNAVAILABLE", 1)
        else:
            assert healed.ok, row.error
        assert healed.report.credits.spent >= gateway.taken
    _kept_secrets(gateway, tmp_path, caplog.text)


async def _tried(
    run, gateway: HostileGateway, *, timeout_s: float
) -> RunResult | CrucibleBatchError:
    try:
        return await run(gateway, timeout_s=timeout_s)
    except CrucibleBatchError as error:
        return error


def _did_not_begin(error: CrucibleBatchError, gateway: HostileGateway, exchange: str) -> None:
    assert exchange in BEFORE_ANYTHING
    if isinstance(error, GatewayError):
        assert error.operation == exchange
    else:  # "there is no workflow": the manifest's line is what to look at
        assert isinstance(error, ManifestError)
        assert exchange in str(error)
    assert str(error).isprintable()
    assert gateway.taken == 0


def _ended_well(result: RunResult, gateway: HostileGateway, exchange: str) -> None:
    """The error names the job and the exchange, and the books have all that the gateway took."""
    (row,) = result.jobs()
    if not result.ok:
        assert (row.name, row.status == "succeeded") == ("fox", False)
        # A job that waits for the end of an outage is explained by what stopped the run.
        waits = row.error is not None and row.error.message.startswith(
            "the gateway does not answer; the job is"
        )
        error = result.report.stops["*"] if row.error is None or waits else row.error
        assert f"{error.code} {error.message} {error.hint}".isprintable()
        names_job = (
            row.error is not None or "fox" in error.message or str(row.job_id) in error.message
        )
        assert names_job or result.exit_code == ExitCode.KEY_REFUSED
        assert _names(exchange, error.code, error.message), error
    books = result.report.credits
    assert gateway.taken <= books.spent + books.held <= 10


def _names(exchange: str, code: str, message: str) -> bool:
    if code.startswith("ODD"):  # the gateway's own code and words, shown as they came
        return True
    if code in ONLY_THERE.get(exchange, ()):
        return True
    return any(name in message for name in (exchange, *COMES_OUT_LATER.get(exchange, ())))


def _bought_once(gateway: HostileGateway, orphans: int) -> None:
    assert set(gateway.markers.values()) <= {1}
    # What is of no use is given back. An image is bought twice a run; where all answers are lost
    # and all is given back, until uploads hold half of the budget: five times.
    assert sum(asset["status"] != "deleted" for asset in gateway.assets.values()) <= 1 + orphans
    assert len(gateway.assets) <= 6


def _kept_secrets(gateway: HostileGateway, directory: Path, log: str) -> None:
    for exchange, request in gateway.requests:
        assert (KEY.encode() in request) is (exchange not in STORAGE)
    assert KEY not in log
    assert SIGNATURE not in log
    for path in (path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert KEY.encode() not in content, path
        assert SIGNATURE.encode() not in content, path
    assert json.loads((directory / "out/report.json").read_bytes())["status"] in {
        "succeeded",
        "failed",
    }
