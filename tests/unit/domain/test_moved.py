"""What moved since a plan was saved: each row of the table at the head of ``domain/plan_staleness.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.plan_staleness import (
    Author,
    CurrentJob,
    diff_files,
    diff_gateway,
    diff_manifest,
    diff_prices,
    diff_rows,
    diff_terms,
    diff_workflows,
)
from crucible_batch.domain.prices import Certainty, Quote
from crucible_batch.domain.saved_plan import ImageFile, ManifestFile, PlannedPrice, PlannedState, PlanRow, PlanTerms
from tests.case_table import each_case

TERMS = PlanTerms(Decimal(10), None, 3, ())
MANIFEST = ManifestFile("spring", "spring.yaml", "aa", {})
ROW = PlanRow(
    "hero", "11", "zimage-base", PlannedState.NEW, Decimal(2), {"prompt.text": "a fox", "size.width": 64}, {}, 1
)
PHOTO = replace(ROW, name="photo", identity="22", images={"image.image": ImageFile("photos/a.png", "aa")})


def said(saved: Sequence[PlanRow], now: Sequence[PlanRow], author: Author = Author.NOBODY) -> list[str]:
    return [str(move) for move in diff_rows(saved, [CurrentJob(row, author) for row in now])]


def test_the_head_is_compared_part_by_part() -> None:
    assert [*diff_gateway("https://a", "https://a"), *diff_terms(TERMS, TERMS)] == []
    assert [str(move) for move in diff_gateway("https://a", "https://b")] == [
        "the gateway was https://a, is now https://b"
    ]
    now = PlanTerms(Decimal(20), Decimal("4.50"), 3, ("GPU_LOST",))
    assert [str(move) for move in diff_terms(TERMS, now)] == [
        "budget was 10, is now 20",
        "max_credits_per_job was none, is now 4.5",
        "never was none, is now GPU_LOST",
    ]
    other = replace(MANIFEST, name="summer", sha256="bb")
    assert [str(move) for move in diff_manifest(MANIFEST, other)] == [
        "spring.yaml: content changed",
        "the manifest's name was spring, is now summer",
    ]


def test_text_files_are_compared_by_their_bytes() -> None:
    moves = diff_files({"a.csv": "1", "b.txt": "2", "c.txt": "3"}, {"a.csv": "9", "c.txt": "3", "d.txt": "4"})
    assert [str(move) for move in moves] == [
        "a.csv: content changed",
        "b.txt is no longer read by the manifest",
        "d.txt is now read by the manifest",
    ]


@each_case(
    "before, after, message",
    [
        (("a", "b"), {"z": ("b", "a")}, None),
        (("a", "b"), {"z": ("a",)}, "workflow z no longer lists the parameter b"),
        (("a",), {"z": ("a", "b")}, "workflow z now lists the parameter b"),
        (("a",), {"z": None}, "workflow z no longer lists its parameters"),
        (None, {"z": ("a",)}, "workflow z now lists its parameters"),
        (None, {"z": None}, None),
        (("a",), {}, "workflow z is no longer available"),
    ],
)
def test_a_parameter_list_is_compared_by_its_names(
    before: tuple[str, ...] | None, after: dict[str, tuple[str, ...] | None], message: str | None
) -> None:
    moves = [str(move) for move in diff_workflows({"z": before}, after)]
    assert moves == ([] if message is None else [message])


@each_case(
    "before, after, message",
    [
        ((Certainty.LEARNED, "2"), (Certainty.LEARNED, "2.0"), None),
        ((Certainty.LEARNED, "2"), (Certainty.LEARNED, "9"), "was 2, is now 9"),
        ((Certainty.BOUNDED, "4"), (Certainty.LEARNED, "9"), "was at most 4, is now 9"),
        ((Certainty.UNKNOWN, None), (Certainty.LEARNED, "9"), "was unknown, is now 9"),
        ((Certainty.LEARNED, "2"), (Certainty.UNKNOWN, None), "was 2, is now unknown"),
    ],
)
def test_a_price_is_compared_by_what_is_known_of_it(
    before: tuple[Certainty, str | None], after: tuple[Certainty, str | None], message: str | None
) -> None:
    def amount(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    for price_class, name in (("workflow:z", "z"), ("upload", "an upload")):
        saved = PlannedPrice(price_class, 3, before[0], amount(before[1]))
        moves = [str(move) for move in diff_prices([saved], {price_class: Quote(after[0], amount(after[1]))})]
        assert moves == ([] if message is None else [f"the price of {name} {message}"])


@each_case(
    "now, message",
    [
        (replace(ROW, params={**ROW.params, "prompt.text": "a cat"}), "prompt changed"),
        (replace(ROW, params={**ROW.params, "size.width": 65}), "size.width was 64, is now 65"),
        (replace(ROW, params={**ROW.params, "size.width": "64"}), "size.width was 64, is now '64'"),
        (replace(ROW, params={"prompt.text": "a fox"}), "size.width is no longer set"),
        (replace(ROW, params={**ROW.params, "sampler.seed": 7}), "sampler.seed is now set"),
        (replace(ROW, workflow_id="qwen-edit"), "workflow was zimage-base, is now qwen-edit"),
        (replace(ROW, repeat=2), "repeat was 1, is now 2"),
        (
            replace(ROW, images={"image.image": ImageFile("b.png", "bb")}),
            "image.image was not set, is now b.png",
        ),
        (ROW, "the request has changed"),
    ],
)
def test_a_changed_job_is_named_with_what_changed(now: PlanRow, message: str) -> None:
    assert said([ROW], [replace(now, identity="other")]) == [f"hero: {message}"]


def test_a_swapped_image_is_named_once_for_all_its_jobs() -> None:
    saved = [PHOTO, replace(PHOTO, name="again", identity="33")]
    swapped = [
        replace(row, identity=row.identity + "x", images={"image.image": ImageFile("photos/a.png", "bb")})
        for row in saved
    ]
    assert said(saved, swapped) == ["photos/a.png: content changed"]


def test_an_image_that_lies_elsewhere_with_the_same_bytes_is_no_move() -> None:
    assert said([PHOTO], [replace(PHOTO, images={"image.image": ImageFile("b.png", "aa")})]) == []


def test_what_came_and_what_went_is_named() -> None:
    other = replace(ROW, name="other", identity="44")
    assert said([ROW, PHOTO], [other, PHOTO]) == ["new job other", "job hero was removed"]
    assert said([ROW], []) == ["job hero was removed"]
    assert said([], [ROW]) == ["new job hero"]


@each_case(
    "before, after, author, message",
    [
        ("new", "new", Author.ANOTHER_RUN, None),
        ("new", "done", Author.THE_PLAN, None),
        ("new", "failed", Author.THE_PLAN, None),
        ("new", "done", Author.ANOTHER_RUN, "job hero has been completed by another run"),
        ("new", "failed", Author.ANOTHER_RUN, "job hero was new, is now failed because of another run"),
        ("done", "new", Author.NOBODY, "job hero was done, is new in the current run directory"),
    ],
)
def test_a_state_moves_by_others_only(before: str, after: str, author: Author, message: str | None) -> None:
    now = replace(ROW, state=PlannedState(after))
    assert said([replace(ROW, state=PlannedState(before))], [now], author) == ([] if message is None else [message])


@given(st.lists(st.integers(0, 30), unique=True), st.randoms(use_true_random=False))
def test_order_is_no_move_and_nothing_else_is_missed(numbers: list[int], random: object) -> None:
    saved = [replace(ROW, name=f"job-{number}", identity=str(number)) for number in numbers]
    now = list(saved)
    random.shuffle(now)  # type: ignore[attr-defined]
    assert said(saved, now) == []
    assert sorted(said(saved, now[1:])) == sorted(f"job {row.name} was removed" for row in now[:1])
    assert sorted(said(saved[1:], now)) == sorted(f"new job {row.name}" for row in saved[:1])


def test_both_sides_are_read_in_step_and_not_into_a_list() -> None:
    read: list[int] = []

    def rows() -> Iterator[PlanRow]:
        for number in range(100):
            read.append(number)
            yield replace(ROW, name=f"job-{number}")

    moves = diff_rows(rows(), (CurrentJob(replace(row, identity="other"), Author.NOBODY) for row in rows()))
    assert str(next(moves)) == "job-0: the request has changed"
    assert read == [0, 0]
