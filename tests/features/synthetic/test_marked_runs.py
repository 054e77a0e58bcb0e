"""Outputs say that a model has made them; nothing else changes, and nothing is paid for it."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.plan import PlannedJob
from crucible_batch.errors import ManifestError
from crucible_batch.features.synthetic.output_properties import property_of
from tests.harness.source_type import COMPOSITE, TRAINED, source_types

SHORT_JOBS = True

MARK = "provenance: {mark: true}\n"
EDIT = "{name: edit, prompt: a jpeg, image: p.png, workflow: qwen-edit}"
FORMATS = '{name: "{{ kind }}", prompt: "a {{ kind }}", matrix: {kind: [png, jpeg, webp]}}'


def files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("[a-z]*/*"))
    }


async def test_png_jpeg_and_webp_say_that_a_model_made_them(painting: Any) -> None:
    async with painting() as bench:
        result = await bench.run(bench.manifest(FORMATS, head=MARK))
        await bench.agree(result)
        marked = files(bench.path / "out")
        outputs = {row.name: row.outputs[0] for row in result.jobs()}
    assert list(marked) == ["jpeg/0.jpg", "png/0.png", "webp/0.webp"]
    for content in marked.values():
        assert source_types(content) == [TRAINED]
    for output in outputs.values():
        content = output.path.read_bytes()
        assert output.sha256 == hashlib.sha256(content).hexdigest()
        assert output.sent is not None
        assert output.sent.sha256 != output.sha256


async def test_what_is_made_from_a_picture_is_a_composite(painting: Any) -> None:
    async with painting() as bench:
        bench.picture("p.png")
        await bench.run(bench.manifest(EDIT, head=MARK))
        (content,) = files(bench.path / "out").values()
    assert source_types(content) == [COMPOSITE]


def test_an_image_that_is_named_by_its_id_makes_a_composite_too() -> None:
    planned = PlannedJob(0, "1" * 64, "a", "edit", {"image.image": "an id", "prompt.text": "x"})
    assert property_of(planned).value == COMPOSITE


async def test_outputs_are_as_the_gateway_sent_them_without_the_mark(painting: Any) -> None:
    async with painting() as bench:
        result = await bench.run(bench.manifest(FORMATS))
        for content in files(bench.path / "out").values():
            assert source_types(content) == []
    assert all(row.outputs[0].sent is None for row in result.jobs())


async def test_mark_and_provenance_stand_in_one_picture(painting: Any) -> None:
    async with painting() as bench:
        head = "provenance: {mark: true, embed: true}\n"
        await bench.run(bench.manifest(FORMATS, head=head))
        found = files(bench.path / "out")
    for content in found.values():
        assert source_types(content) == [TRAINED]
        assert b"idempotency_key" in content


async def test_a_picture_that_takes_no_mark_is_saved_and_that_is_said(
    painting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with painting() as bench:
        with caplog.at_level(logging.WARNING):
            result = await bench.run(bench.manifest("{name: a, prompt: a gif}", head=MARK))
    assert result.exit_code == 0
    assert "no metadata was embedded in a/0.gif: metadata can't be embedded in image/gif" in (
        caplog.messages
    )


async def test_a_mark_that_is_added_later_buys_nothing_and_changes_no_file(painting: Any) -> None:
    """A file that is there stays. Deleted, it is fetched again at no cost, with the mark."""
    async with painting() as bench:
        await bench.run(bench.manifest(FORMATS))
        before = files(bench.path / "out")
        marking = bench.manifest(FORMATS, head=MARK)
        await bench.run(marking)
        assert files(bench.path / "out") == before
        (bench.path / "out/png/0.png").unlink()
        result = await bench.run(marking)
        state = await bench.agree(result)
        after = files(bench.path / "out")
    assert len(state["jobs"]) == 3
    assert source_types(after.pop("png/0.png")) == [TRAINED]
    before.pop("png/0.png")
    assert after == before


async def test_the_report_has_the_file_that_was_sent(painting: Any) -> None:
    async with painting() as bench:
        await bench.run(bench.manifest("{name: a, prompt: a png}", head=MARK))
        (job,) = json.loads((bench.path / "out/report.json").read_text())["jobs"]
        (content,) = files(bench.path / "out").values()
    (output,) = job["outputs"]
    assert output["sha256"] == hashlib.sha256(content).hexdigest()
    assert output["sent"]["byte_size"] < output["byte_size"] == len(content)


@pytest.mark.parametrize("value", ["yes please", "1", "[]"])
async def test_another_value_is_refused_with_its_place(painting: Any, value: str) -> None:
    async with painting() as bench:
        path = bench.manifest("{name: a, prompt: x}", head=f"provenance: {{mark: {value}}}\n")
        with pytest.raises(ManifestError, match=r"m\.yaml:6:20: provenance\.mark: must be true"):
            await bench.run(path)
        assert (await bench.state())["jobs"] == []
