"""What a probe buys and uploads: one job of each shape without a price, then each missing image
once.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.asset import AssetPhase
from crucible_batch.core.events import Accepted, Failed
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.prices import UPLOAD, PriceBook, Shape, shape_of
from crucible_batch.features.shards.divided_plan import left_of
from crucible_batch.features.shards.probing import ProbeChoice
from crucible_batch.runs.request import JobFilter
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event
from tests.harness.replacing import replace

D = Decimal
NOBODY = frozenset[str]()


def planned(name: str, workflow: str = "w", images: str = "") -> PlannedJob:
    """Plan a job; each letter of ``images`` is one image."""
    given = {
        f"image{n}": InputImage(AssetSpec(letter, 1, "image/png", letter), Path(letter))
        for n, letter in enumerate(images)
    }
    return PlannedJob(0, name, name, workflow, {}, images=given)


class Scene:
    """Jobs by name, their states, the gateway's images and the prices."""

    def __init__(self, *jobs: PlannedJob, budget: str = "100", only: tuple[str, ...] = ()) -> None:
        self.jobs = {each.identity: each for each in jobs}
        self.states = {
            name: Job(name, has_images=bool(each.images)) for name, each in self.jobs.items()
        }
        self.there: set[str] = set()
        self.phases: dict[str, AssetPhase] = {}
        self.ledger = Ledger(PriceBook())
        self.budget = D(budget)
        self.stages = ProbeChoice(JobFilter(only), 2)

    def _found(self) -> Iterator[tuple[PlannedJob, Job]]:
        return ((each, self.states[name]) for name, each in self.jobs.items())

    def know(self, *workflows: str, upload: str | None = "1", price: str = "3") -> Scene:
        for workflow in workflows:
            self.ledger.prices.learn(shape_of(planned("any", workflow)), D(price))
        if upload is not None:
            self.ledger.prices.learn(UPLOAD, D(upload))
        return self

    def set(self, name: str, phase: Phase, *, attempt: int = 1) -> None:
        self.states[name] = replace(self.states[name], phase=phase, attempt=attempt)

    def fail(self, name: str, price: Decimal) -> None:
        """Let a job fail that was charged, so that its price is held for the refund."""
        held = held_event(price, shape=shape_of(planned("x")).digest)
        accepted = Accepted(at=1.5, job_id="id", credits=price, reused=False)
        for event in (
            held,
            accepted,
            Failed(at=2.0, error=ErrorInfo("GENERATION_FAILED", "it failed")),
        ):
            self.ledger.apply(name, event)

    def buy(self) -> frozenset[str]:
        return self.stages.to_buy(self._found(), self.ledger, left_of(self.ledger, self.budget))

    def prepare(self) -> frozenset[str]:
        left, prices = left_of(self.ledger, self.budget), self.ledger.prices
        return self.stages.to_prepare(
            self._found(), self.phases, lambda image: image.spec.sha256 in self.there, prices, left
        )


def test_the_first_job_of_each_shape_without_a_price_is_bought() -> None:
    scene = Scene(planned("a"), planned("b"), planned("c", "v"), planned("d", "u")).know("u")
    assert scene.buy() == {"a", "c"}


def test_a_price_of_the_workflow_is_no_price_of_another_shape() -> None:
    scene = Scene(planned("a"))
    scene.ledger.prices.learn(Shape("workflow:w", "another"), D(3))
    assert scene.buy() == {"a"}


def test_only_chosen_jobs_are_bought() -> None:
    assert Scene(planned("a"), planned("b"), only=("b",)).buy() == {"b"}


def test_a_filter_of_names_takes_exactly_these_and_no_pattern_of_them() -> None:
    found = JobFilter(("a*", "b"), names=frozenset({"a", "a*", "c"}))
    assert [name for name in ("a", "a*", "ab", "b", "c") if found.takes(name)] == ["a", "a*"]
    assert not JobFilter(names=NOBODY).takes("a")


def test_the_next_job_is_bought_where_one_has_failed_without_a_price_and_five_in_all() -> None:
    scene = Scene(*(planned(name) for name in "abcdefgh"))
    bought: list[str] = []
    while chosen := scene.buy():
        (name,) = chosen
        bought.append(name)
        scene.set(name, Phase.FAILED)
    assert bought == list("abcde")
    assert scene.prepare() == NOBODY
    assert not scene.stages.is_complete


@each_case("phase", [Phase.READY, Phase.UNKNOWN, Phase.SUBMITTING])
def test_no_other_job_is_bought_where_one_was_not_answered_or_could_not_be_paid(
    phase: Phase,
) -> None:
    scene = Scene(planned("a"), planned("b"))
    assert scene.buy() == {"a"}
    scene.set("a", phase)
    assert scene.buy() == NOBODY
    assert scene.prepare() == NOBODY
    assert not scene.stages.is_complete


def test_another_job_is_bought_where_an_earlier_run_left_one_that_still_has_no_answer() -> None:
    scene = Scene(planned("a"), planned("b"))
    scene.set("a", Phase.UNKNOWN)
    assert scene.buy() == {"b"}


@each_case("budget, awaited", [("6", NOBODY), ("5", {"b"})])
def test_the_first_job_that_does_not_fit_beside_refunds_waits_for_them_once(
    budget: str, awaited: set[str]
) -> None:
    scene = Scene(planned("a"), planned("b"), planned("c"), budget=budget).know("w")
    scene.set("a", Phase.FAILED)
    scene.fail("a", D(3))
    assert scene.buy() == awaited
    assert scene.buy() == ({"c"} if awaited else NOBODY)
    assert scene.buy() == NOBODY


def test_a_job_that_does_not_fit_waits_for_nothing_where_no_refund_is_awaited() -> None:
    scene = Scene(planned("a"), planned("b"), budget="5").know("w")
    scene.ledger.jobs = D(3)
    assert scene.buy() == NOBODY


def test_a_job_that_an_earlier_run_left_between_two_attempts_is_finished() -> None:
    scene = Scene(planned("a"), planned("b")).know("w")
    scene.set("b", Phase.READY, attempt=2)
    assert scene.buy() == {"b"}
    assert scene.buy() == NOBODY


def test_each_missing_image_is_uploaded_by_the_first_job_that_needs_it() -> None:
    scene = Scene(
        *(
            planned(n, images=i)
            for n, i in [("a", "x"), ("b", "xy"), ("c", "y"), ("d", "z"), ("e", "")]
        )
    )
    scene.know("w").there.add("z")
    assert scene.buy() == NOBODY
    assert scene.prepare() == {"a", "b"}
    scene.there |= {"x", "y"}
    assert scene.prepare() == NOBODY
    assert scene.stages.is_complete


def test_no_image_is_uploaded_before_each_price_is_known() -> None:
    scene = Scene(planned("a", images="x"), planned("b", "v", images="y")).know("w")
    scene.buy()
    assert scene.prepare() == NOBODY


def test_an_image_that_was_uploaded_and_is_not_listed_yet_is_there() -> None:
    scene = Scene(planned("a", images="x"), planned("b", images="y")).know("w")
    scene.phases = {
        "y": AssetPhase.READY
    }  # by the journal; it may have been deleted at the gateway since
    scene.buy()
    assert scene.prepare() == {"a", "b"}
    scene.phases = dict.fromkeys("xy", AssetPhase.READY)
    assert scene.prepare() == NOBODY
    assert scene.stages.is_complete


def test_a_declared_ceiling_is_enough_for_uploads_at_once() -> None:
    scene = Scene(planned("a", images="x"), planned("b", images="y")).know("w", upload=None)
    scene.ledger.prices.upload_ceiling = D(1)
    scene.buy()
    assert scene.prepare() == {"a", "b"}


def test_images_of_jobs_that_are_not_going_to_be_admitted_are_not_uploaded() -> None:
    scene = Scene(*(planned(name, images=name) for name in "abc"), budget="11").know("w")
    scene.buy()
    assert scene.prepare() == {"a", "b"}


def test_an_upload_in_doubt_is_settled_if_its_job_fits_or_not_and_counts_once() -> None:
    scene = Scene(*(planned(name, images=name) for name in "abc"), budget="7").know("w")
    scene.there, scene.phases = {"a", "b", "c"}, dict.fromkeys("bc", AssetPhase.UPLOADED)
    scene.buy()
    assert scene.prepare() == {"b", "c"}


def test_jobs_that_need_an_image_which_could_not_be_uploaded_are_each_tried_once() -> None:
    scene = Scene(*(planned(name, images="x") for name in "abc"), planned("d", images="y")).know(
        "w"
    )
    scene.buy()
    assert scene.prepare() == {"a", "d"}
    scene.set("a", Phase.FAILED)
    scene.there.add("y")
    assert scene.prepare() == {"b", "c"}
    scene.set("b", Phase.FAILED)
    scene.set("c", Phase.FAILED)
    assert scene.prepare() == NOBODY
    assert scene.stages.is_complete


def test_nothing_more_is_uploaded_where_a_job_was_neither_prepared_nor_failed() -> None:
    scene = Scene(planned("a", images="x"), planned("b", images="x")).know("w")
    scene.buy()
    assert scene.prepare() == {"a"}
    assert scene.prepare() == NOBODY
    assert not scene.stages.is_complete


def test_without_images_and_with_all_prices_nothing_is_to_be_done() -> None:
    scene = Scene(planned("a")).know("w")
    assert (scene.buy(), scene.prepare(), scene.stages.is_complete) == (NOBODY, NOBODY, True)


@each_case("price, prepared", [("89", frozenset({"a"})), ("90", NOBODY)])
def test_what_is_left_of_the_budget_is_without_what_is_spent_and_held(
    price: str, prepared: frozenset[str]
) -> None:
    scene = Scene(planned("a", images="x")).know("w", price=price)
    scene.ledger.jobs = D(8)
    scene.ledger.set_hold("h", D(2), alone=False)
    scene.buy()
    assert scene.prepare() == prepared
