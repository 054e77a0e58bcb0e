"""What is refused for what it is gets one fresh link at once; then it is said, and the next run
pays for nothing."""

from __future__ import annotations

import gzip

import pytest

from tests.unit.outputs.test_store import claiming
from tests.verification.hostile.gateway import PICTURE, HostileGateway, serving
from tests.verification.hostile.menu import body, lie

ZIP = b"PK\x03\x04" + b"\0" * 500
PAGE = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"


def link(url: str):
    return lambda data, _reply: [output.update(url=url) for output in data["outputs"]]


REFUSED = {
    "another type": ("download", body(ZIP), "OUTPUT_NO_PICTURE"),
    "too many pixels": ("download", body(claiming(20_000, 20_000)), "OUTPUT_TOO_MANY_PIXELS"),
    "too many bytes": ("download", body(PICTURE + b"\0" * 200_000), "OUTPUT_TOO_LARGE"),
    "encoded": ("download", body(gzip.compress(PICTURE), "Content-Encoding: gzip"), "BAD_ANSWER"),
    "a link in clear text": ("job", lie(link("http://192.0.2.1/x.png")), "UNSAFE_URL"),
    "a link to a file": ("job", lie(link("file:///etc/passwd")), "UNSAFE_URL"),
}


@pytest.mark.parametrize(("exchange", "behave", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_definite_refusal_gets_one_fresh_link_and_is_paid_for_once(
    run, exchange, behave, code
) -> None:
    gateway = HostileGateway(exchange, behave)
    async with serving(gateway):
        result = await run(gateway, max_output_bytes=100_000)
        (row,) = result.jobs()
        assert (result.exit_code, row.status, row.error.code) == (1, "failed", "OUTPUT_UNAVAILABLE")
        assert row.error.message.startswith(code)
        assert (
            gateway.asked["job"] == 3
        )  # its price compared with the answer, its end, and its fresh link
        assert gateway.asked["download"] == (2 if exchange == "download" else 0)
        gateway.at = ""
        healed = await run(gateway)
    assert healed.ok
    assert (gateway.asked["generate"], gateway.asked["create_asset"]) == (1, 1)
    assert gateway.taken == healed.report.credits.spent


async def test_a_page_in_place_of_a_picture_is_asked_for_again_as_often_as_a_cut_one(run) -> None:
    gateway = HostileGateway("download", body(PAGE))
    async with serving(gateway):
        (row,) = (await run(gateway)).jobs()
    assert row.error.message.startswith("OUTPUT_NO_PICTURE")
    assert gateway.asked["download"] == 4


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_output_bytes": len(PICTURE) - 1}, "OUTPUT_TOO_LARGE"),
        ({"max_pixels": 63}, "OUTPUT_TOO_MANY_PIXELS"),
    ],
)
async def test_a_limit_is_the_callers_and_the_next_run_may_have_a_higher_one(
    run, limits, code
) -> None:
    gateway = HostileGateway()
    async with serving(gateway):
        (row,) = (await run(gateway, **limits)).jobs()
        assert (row.error.code, row.error.message.partition(":")[0]) == ("OUTPUT_UNAVAILABLE", code)
        assert (await run(gateway, max_output_bytes=len(PICTURE), max_pixels=64)).ok
    assert gateway.asked["generate"] == 1
