"""Which parameters ``prompt:`` and ``image:`` have filled, by the jobs of a plan."""

from pathlib import Path
from typing import Any

from crucible_batch.core.filled_fields import filled_fields
from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.core.plan import InputImage, PlannedJob

IMAGE = InputImage(AssetSpec("0" * 64, 1, "image/png", "a.png"), Path("a.png"))


def job(workflow_id: str = "w", prompt: str | None = None, **more: Any) -> PlannedJob:
    return PlannedJob(
        0, "i", "a", workflow_id, more.get("params", {}), more.get("images", {}), prompt=prompt
    )


def test_a_parameter_with_the_prompt_was_filled_and_one_that_was_given_was_not() -> None:
    filled = job(prompt="a fox", params={"prompt.text": "other", "prompt.value": "a fox"})
    assert filled_fields([filled]) == {"w": {"prompt": "prompt.value"}}
    assert filled_fields([job(params={"prompt.value": "a fox"})]) == {"w": {}}
    assert filled_fields([job(prompt="a fox", params={"own.prompt": "a fox"})]) == {"w": {}}


def test_each_workflow_has_its_own() -> None:
    jobs = [
        job("one", prompt="x", params={"prompt": "x"}),
        job("two", images={"image.value": IMAGE}),
        job("two", prompt="x", params={"prompt.text": "x"}),
    ]
    assert filled_fields(jobs) == {
        "one": {"prompt": "prompt"},
        "two": {"prompt": "prompt.text", "image": "image.value"},
    }


def test_an_image_that_the_manifest_names_itself_is_not_that_of_image() -> None:
    named = job(images={"image.value": IMAGE})
    assert filled_fields([named], {"image.value"}) == {"w": {}}
