"""Events of several journals in one order: dividing a run among shards changes nothing in ledger
and counts.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.asset import Asset, AssetPhase
from crucible_batch.core.events import (
    BecameReady,
    Created,
    Event,
    Found,
    Intended,
    Lost,
    NotCreated,
    Prepared,
    Uploaded,
)
from crucible_batch.core.job import Job, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import PlannedJob
from crucible_batch.errors import JournalError
from crucible_batch.features.shards.merge_rule import KnownImages
from crucible_batch.journal import MergedEvents
from crucible_batch.report import CountsRow
from crucible_batch.report.build import count_jobs, notes
from tests.harness.histories import ERROR, PRICES, lives
from tests.harness.job_events import held_event
from tests.harness.replacing import replace

Line = tuple[str, Event]


def identity(number: int) -> str:
    return f"{number:064x}"


@st.composite
def uploads(draw: st.DrawFn, image: str, payer: str) -> list[Line]:
    """An image that a job pays for: its events are between the payer's hold and its end."""
    price = draw(PRICES)
    intended = Intended(at=0.0, nonce="n", credits=price, payer=payer)
    ends: list[list[Event]] = [
        [
            Created(at=0.0, asset_id=image[-8:], credits=draw(PRICES)),
            Uploaded(at=0.0),
            BecameReady(at=0.0),
        ],
        [Created(at=0.0, asset_id=image[-8:], credits=Decimal(0), assumed=True)],
        [NotCreated(at=0.0, error=ERROR)],
        [Lost(at=0.0, nonce="n")],
        [],
    ]
    return [(image, event) for event in [intended, *draw(st.sampled_from(ends))]]


@st.composite
def divided_runs(draw: st.DrawFn) -> tuple[list[Job], list[Line], dict[str, int]]:
    """Jobs, the events of one run of them in order, and the shard of each job and image."""
    count = draw(st.integers(1, 4))
    jobs: list[Job] = []
    streams: list[list[Line]] = []
    shard_of: dict[str, int] = {}
    for number in range(draw(st.integers(1, 5))):
        first, events = draw(lives(has_images=False))
        name = identity(number)
        jobs.append(replace(first, identity=name))
        shard_of[name] = draw(st.integers(1, count))
        lines: list[Line] = [(name, event) for event in events]
        if draw(st.booleans()):
            image, payer = Asset(identity(100 + number)).identity, identity(200 + number)
            shard_of[image] = shard_of[payer] = shard_of[name]
            held = held_event(50, images=True)
            prepared = Prepared(at=0.0, credits=draw(PRICES))
            jobs.append(Job(payer, has_images=True))
            lines += [(payer, held), *draw(uploads(image, payer)), (payer, prepared)]
        streams.append(lines)
    run: list[Line] = []
    while any(streams):
        stream = draw(st.sampled_from([stream for stream in streams if stream]))
        run.append(stream.pop(0))
    timed = [
        (subject, replace(event, at=100.0 + place)) for place, (subject, event) in enumerate(run)
    ]
    return jobs, timed, shard_of


def figures(lines: list[Line]) -> tuple[object, ...]:
    ledger = Ledger()
    for subject, event in lines:
        ledger.apply(subject, event)
    return (
        ledger.spent,
        ledger.held,
        ledger.jobs,
        ledger.uploads,
        ledger.rebates,
        ledger.refunded,
        ledger.reused,
        ledger.price_differs,
        ledger.holds(),
        tuple(ledger.unpriced()),
        sorted(map(str, ledger.surprises)),
        list(notes(ledger)),
        ledger.prices.highest,
    )


def counts(jobs: list[Job], lines: list[Line]) -> CountsRow:
    own: dict[str, list[Any]] = {job.identity: [] for job in jobs}
    for subject, event in lines:
        if subject in own:
            own[subject].append(event)
    states = (replay(job, own[job.identity]) for job in jobs)
    planned = (
        PlannedJob(place, job.identity, str(place), "w", {}) for place, job in enumerate(jobs)
    )
    return count_jobs(zip(planned, states, strict=True), {})


def merged(base: list[Line], shards: dict[int, list[Line]], known: list[Asset]) -> list[Line]:
    with MergedEvents() as events:
        for number, lines in sorted(shards.items()):
            events.add(number, lines)
        images = KnownImages(known)
        return [
            *base,
            *((subject, event) for subject, event in events if images.takes(subject, event)),
        ]


@given(divided_runs(), st.booleans())
def test_merging_any_division_of_a_run_is_the_run_itself(
    divided: tuple[list[Job], list[Line], dict[str, int]], main_has_the_image: bool
) -> None:
    """Each shard also begins with the image that was ready when the plan was divided."""
    jobs, run, shard_of = divided
    image = Asset(identity(999), AssetPhase.READY, asset_id="shared")
    seed: Line = (image.identity, Found(at=50.0, asset_id="shared"))
    shards = {
        number: [seed, *((subject, event) for subject, event in run if shard_of[subject] == number)]
        for number in {*shard_of.values(), 1}
    }
    base = [(image.identity, Found(at=1.0, asset_id="shared"))] if main_has_the_image else []
    once = base or [seed]
    result = merged(base, shards, [image] if main_has_the_image else [])
    assert result == [*once, *run]
    assert figures(result) == figures([*once, *run])
    assert counts(jobs, result) == counts(jobs, run)


@given(divided_runs())
def test_each_job_and_image_keeps_the_order_of_its_events_whatever_the_clocks_were(
    divided: tuple[list[Job], list[Line], dict[str, int]],
) -> None:
    """A clock that was set back, or that differs between machines, changes nothing in what a job
    is."""
    jobs, run, shard_of = divided
    wrong = [
        (subject, replace(event, at=event.at - 7 * (place % 20)))
        for place, (subject, event) in enumerate(run)
    ]
    shards = {
        number: [line for line in wrong if shard_of[line[0]] == number]
        for number in set(shard_of.values())
    }
    result = merged([], shards, [])
    for number, lines in shards.items():
        assert [line for line in result if shard_of[line[0]] == number] == lines
    assert counts(jobs, result) == counts(jobs, run)


def test_a_job_belongs_to_one_shard() -> None:
    with MergedEvents() as events:
        assert events.claim(1, ["a", "b"]) is None
        assert events.claim(2, ["c", "b"]) == "b"
        assert events.source_of("b") == 1
        assert events.source_of("z") is None


def test_it_knows_the_time_of_the_latest_event_of_a_journal() -> None:
    with MergedEvents() as events:
        assert events.add(1, []) is None
        assert events.add(2, [("a", Uploaded(at=9.0)), ("a", BecameReady(at=4.0))]) == 9.0


def test_events_that_can_not_be_decoded_are_refused_before_any_is_merged(tmp_path: Path) -> None:
    def damaged() -> list[Line]:
        raise JournalError("damaged")

    with MergedEvents() as events, pytest.raises(JournalError):
        events.add(1, (line for line in damaged()))
