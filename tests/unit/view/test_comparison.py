"""Two runs compared: which jobs belong together, what differs, and what bounds the page."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from crucible_batch.report import JobRow, OutputRow
from crucible_batch.view.comparison import JobPair, PairedJob, pairs_of
from tests.case_table import each_case


def row(name: str = "fox", prompt: str | None = "a fox", **fields: object) -> JobRow:
    known: dict[str, object] = {
        "name": name,
        "status": "succeeded",
        "workflow_id": "z",
        "prompt": prompt,
        "params": {"prompt.text": prompt, "seed": 7},
        "idempotency_key": "k",
        "credits": Decimal(2),
    }
    return JobRow.model_validate({**known, **fields})


def job(**fields: object) -> PairedJob:
    return PairedJob.of(0, row(**fields))  # type: ignore[arg-type]


def differing(first: PairedJob, second: PairedJob) -> Mapping[str, tuple[str | None, str | None]]:
    """The marked part of each field that differs."""
    found = JobPair("fox", first, second).differences()
    return {
        one.field: (one.first.marked if one.first else None, one.second.marked if one.second else None) for one in found
    }


def test_jobs_are_matched_by_name_in_the_order_of_the_first_run() -> None:
    first = {name: job(name=name) for name in ("b", "a", "c")}
    second = {name: job(name=name) for name in ("d", "a", "b")}
    second["a"] = job(prompt="another")
    pairs = pairs_of(first, second)
    assert [(pair.name, pair.kind) for pair in pairs] == [
        ("b", "same"), ("a", "different"), ("c", "first"), ("d", "second"),
    ]  # fmt: skip


def test_only_the_words_that_differ_are_marked() -> None:
    first, second = job(prompt="A harbour at dawn, noir"), job(prompt="A harbour at dusk, noir")
    assert differing(first, second) == {"prompt": ("dawn", "dusk")}
    (difference,) = JobPair("fox", first, second).differences()
    assert difference.first is not None
    assert (difference.first.before, difference.first.after) == ("A harbour at ", ", noir")


def test_parameters_workflow_images_and_status_differ_each_on_their_own() -> None:
    assert differing(job(), job(params={"seed": 8, "steps": 4}, prompt=None)) == {
        "prompt": ("a fox", None), "seed": ("7", "8"), "steps": (None, "4"),
    }  # fmt: skip
    assert differing(job(), job(workflow_id="other")) == {"workflow": ("z", "other")}
    photos = [job(images={"image": digit * 64}, image_files={"image": "/a/b/mug.png"}) for digit in "ab"]
    assert differing(*photos) == {"image": ("a" * 12, "b" * 12)}
    failed = job(status="failed", error={"code": "X", "message": "why"})
    assert JobPair("fox", job(), failed).kind == "different"
    assert differing(job(), failed) == {}


def test_a_word_that_is_repeated_is_not_counted_at_both_ends() -> None:
    first, second = job(prompt="no no"), job(prompt="no no no")
    assert differing(first, second) == {"prompt": ("", " no")}
    (difference,) = JobPair("fox", first, second).differences()
    assert [side and side.before + side.marked + side.after for side in (difference.first, difference.second)] == [
        "no no",
        "no no no",
    ]


@each_case("where", [0, 50_000, 99_999])
def test_a_huge_prompt_is_shown_around_what_differs_only(where: int) -> None:
    words = [f"w{number}" for number in range(100_000)]
    other = [*words]
    other[where] = "x" * 5000
    first, second = job(prompt=" ".join(words)), job(prompt=" ".join(other))
    for difference in JobPair("fox", first, second).differences():
        for side in (difference.first, difference.second):
            assert side is not None
            assert len(side.before + side.marked + side.after) < 700


def test_a_job_keeps_its_first_picture_and_its_place() -> None:
    output = OutputRow(
        index=0, path="fox/0.png", sha256="ab" * 32, byte_size=1, mime_type="image/png", width=3, height=2, saved_at=1.0
    )
    made = PairedJob.of(4, row(outputs=[output]))
    assert (made.place, made.sha256, made.width, made.height) == (4, "ab" * 32, 3, 2)
    assert job().sha256 is None
