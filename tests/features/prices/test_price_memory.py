"""Prices that earlier runs paid: an estimate in a plan, and nothing that a run decides by."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest

import crucible_batch as api
from crucible_batch.core.events import (
    Failed,
    Held,
    HoldReleased,
    JobEvent,
    JobLost,
    Refused,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.prices import Shape
from crucible_batch.core.progress import Balance, JobAdvanced
from crucible_batch.features.prices import price_memory
from crucible_batch.features.prices.part import PaidPrices
from crucible_batch.features.prices.price_memory import PaidPrice, recall_prices, remember_prices
from crucible_batch.settings import Settings
from tests.harness.job_events import accepted_event, held_event
from tests.harness.replacing import replace

D = Decimal
W = Shape("workflow:w", "abc")
NO = ErrorInfo("NO", "no")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        api_key="moltazine_key", base_url="https://one.test", state_directory=tmp_path / "state"
    )


def paid(
    credits: str = "3", at: float = 1.0, run: str = "spring · default", shape: Shape = W
) -> PaidPrice:
    return PaidPrice(shape.price_class, shape.digest, D(credits), at, run)


def test_a_price_is_recalled_for_its_account_and_gateway_only(settings: Settings) -> None:
    remember_prices(settings, [paid()])
    assert recall_prices(settings)[W] == paid()
    assert recall_prices(replace(settings, base_url="https://one.test/"))[W] == paid()
    assert recall_prices(replace(settings, base_url="https://two.test")) == {}
    assert recall_prices(replace(settings, api_key="moltazine_other")) == {}


def test_the_last_price_counts_and_that_of_the_class_is_the_newest_of_its_shapes(
    settings: Settings,
) -> None:
    other = Shape(W.price_class, "xyz")
    remember_prices(settings, [paid("3", 1.0)])
    remember_prices(settings, [paid("2", 2.0), paid("9", 3.0, shape=other)])
    found = recall_prices(settings)
    assert (found[W].credits, found[other].credits, found[Shape(W.price_class)].credits) == (
        D(2),
        D(9),
        D(9),
    )


def test_neither_the_key_nor_its_plain_hash_is_stored(settings: Settings) -> None:
    remember_prices(settings, [paid()])
    text = (settings.state_directory / "prices.json").read_text()  # type: ignore[operator]
    assert "moltazine" not in text
    for name in ("sha256", "sha1", "md5"):
        assert hashlib.new(name, b"moltazine_key").hexdigest()[:16] not in text
    first = json.loads(text)["prices"][0]["account"]
    (settings.state_directory / "prices.json").unlink()  # type: ignore[operator]
    remember_prices(settings, [paid()])
    assert (
        json.loads((settings.state_directory / "prices.json").read_text())["prices"][0]["account"]
        != first
    )  # type: ignore[operator]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"version": 2, "salt": "00", "prices": []}',
        b"[" * 100_000,
        b'{"version": 1, "salt": "zz", "prices": []}', b'{"version": 1, "salt": 5, "prices": 5}',
        b'{"version": 1, "salt": "%s", "prices": [1, {}, {"credits": "NaN"}]}' % (b"00" * 16),
        b'{"version": 1, "salt": "%s", "prices": {"a": 1}}' % (b"00" * 16),
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_empty_and_is_replaced(settings: Settings, content: bytes) -> None:
    assert settings.state_directory is not None
    settings.state_directory.mkdir()
    (settings.state_directory / "prices.json").write_bytes(content)
    assert recall_prices(settings) == {}
    remember_prices(settings, [paid()])
    assert recall_prices(settings)[W] == paid()


@pytest.mark.parametrize("credits", ["-1", "NaN", "Infinity", "1E+99999", "x", "1" * 50])
def test_an_absurd_price_is_ignored(settings: Settings, credits: str) -> None:
    remember_prices(settings, [paid()])
    file = settings.state_directory / "prices.json"  # type: ignore[operator]
    found = json.loads(file.read_text())
    found["prices"][0]["credits"] = credits
    file.write_text(json.dumps(found))
    assert recall_prices(settings) == {}


def test_the_file_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_memory, "MOST_ENTRIES", 5)
    for number in range(9):
        remember_prices(settings, [paid(at=float(number), shape=Shape("workflow:w", str(number)))])
    shapes = [price.shape for shape, price in recall_prices(settings).items() if shape.digest]
    assert sorted(shapes) == ["4", "5", "6", "7", "8"]


def test_a_home_that_cannot_be_written_is_passed_over(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", None):
        here = replace(settings, state_directory=place)
        remember_prices(here, [paid()])
        assert recall_prices(here) == {}


# -- what a run notes


class Noting(PaidPrices):
    """The prices of a run of one job, of the shape ``W``."""

    def __init__(self) -> None:
        super().__init__("spring · default")

    def hear(self, event: JobEvent, phase: Phase) -> None:
        nothing = Balance(None, D(0), D(0))
        self.notify(JobAdvanced(event.at, "a", "job", event, Phase.READY, phase, nothing))

    def buy(self) -> None:
        held = held_event(9, price_class=W.price_class, shape=W.digest, alone=False)
        self.hear(held, Phase.SUBMITTING)
        self.hear(accepted_event(3, at=2.0), Phase.IN_FLIGHT)


def test_the_price_in_the_record_of_a_job_in_flight_counts() -> None:
    paid = Noting()
    paid.buy()
    paid.hear(Repriced(at=3.0, credits=D(4)), Phase.IN_FLIGHT)
    assert [(price.shape, price.credits) for price in paid.found.values()] == [("abc", 4)]


def test_the_price_in_the_record_of_a_job_that_has_succeeded_counts() -> None:
    paid = Noting()
    paid.buy()
    paid.hear(Succeeded(at=3.0, outputs=1), Phase.FETCHING)
    settled = Settled(D(3), W.price_class, W.digest)
    paid.hear(Repriced(at=4.0, credits=D(4), settled=settled), Phase.FETCHING)
    assert [(price.shape, price.credits) for price in paid.found.values()] == [("abc", 4)]


@pytest.mark.parametrize(
    ("event", "phase"),
    [
        (Succeeded(at=3.0, outputs=1), Phase.FETCHING),
        (Failed(at=3.0, error=NO), Phase.FAILED),
        (Refused(at=3.0, error=NO), Phase.FAILED),
        (HoldReleased(at=3.0, error=NO), Phase.READY),
        (SubmitUnknown(at=3.0, error=NO), Phase.UNKNOWN),
        (JobLost(at=3.0, error=NO), Phase.VANISHED),
    ],
)
def test_nothing_is_kept_of_a_job_that_has_ended(event: JobEvent, phase: Phase) -> None:
    """A run may have a million jobs."""
    paid = Noting()
    paid.buy()
    paid.hear(event, phase)
    assert not paid._in_flight
    assert paid.found[W].credits == 3


# -- with a gateway

JOBS = "{name: a, prompt: fox}\n{name: b, prompt: owl}"


async def _first_hold(bench, watcher, tmp_path: Path) -> Decimal:
    """Return what the first submit of a new directory holds, after another directory has learned
    the price."""
    settings = replace(bench.settings, state_directory=tmp_path / "state")
    manifest = bench.manifest(JOBS, budget=40)
    await bench.run(manifest, settings=settings, out_dir=tmp_path / "one", run_id="one")
    assert recall_prices(settings)
    held: list[Decimal] = []

    def watch(message: object) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Held):
            held.append(message.event.credits)

    await bench.run(
        manifest, settings=settings, out_dir=tmp_path / "two", run_id="two", observer=watcher(watch)
    )
    return held[0]


async def test_a_remembered_price_is_no_permission_to_spend(start, watcher, tmp_path):
    """The first submit of a directory holds all of the budget, as if nothing were known of its
    price."""
    async with start() as bench:
        assert await _first_hold(bench, watcher, tmp_path) == 40


async def test_a_plan_shows_it_as_an_estimate_and_counts_by_it_nowhere(start, tmp_path):
    async with start() as bench:
        settings = replace(bench.settings, state_directory=tmp_path / "state")
        manifest = bench.manifest(JOBS, budget=40)
        await bench.run(manifest, settings=settings, out_dir=tmp_path / "one")
        plans = [
            await api.plan(manifest, settings=each, out_dir=tmp_path / "two", run_id="two")
            for each in (settings, bench.settings)
        ]
    with_memory, without = plans
    (line,) = with_memory.lines
    assert (line.paid.credits, line.paid.run) == (2, "trial · default")
    assert replace(line, paid=None) == without.lines[0]
    assert (with_memory.estimate, with_memory.certainty) == (without.estimate, without.certainty)


async def test_a_plan_of_a_directory_that_knows_the_price_needs_no_estimate(start, tmp_path):
    async with start() as bench:
        settings = replace(bench.settings, state_directory=tmp_path / "state")
        await bench.run(bench.manifest("{name: a, prompt: fox}", budget=40), settings=settings)
        summary = await api.plan(
            bench.manifest(JOBS, budget=40), settings=settings, out_dir=bench.path / "out"
        )
    assert [line.paid for line in summary.lines] == [None]
