"""The mark is kept in what is derived, also if only the output has it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests.features.derive.test_derived_runs import FORMS, files
from tests.harness.source_type import COMPOSITE, TRAINED, source_types

SHORT_JOBS = True
MARK = "provenance: {mark: true, embed: true}\n"
JOBS = """
{name: "{{ kind }}", prompt: "a {{ kind }}", matrix: {kind: [png, jpeg, webp]}}
{name: edit, prompt: a png, image: p.png, workflow: qwen-edit}
"""
APART = FORMS.replace("max_edge: 24,", "max_edge: 24, path: 'small/{name}-{index}{ext}',")


async def marked(bench: Any, *heads: str) -> dict[str, bytes]:
    bench.picture("p.png")
    for head in heads:
        result = await bench.run(bench.manifest(JOBS, head=head))
        assert result.exit_code == 0
    found = files(bench.path / "out")
    assert len(found) == 16
    return found


@pytest.mark.parametrize("heads", [(MARK + APART,), (MARK, APART)], ids=["together", "kept"])
async def test_all_formats_have_the_mark_and_nothing_else_of_it(
    painting: Any, heads: tuple[str, ...]
) -> None:
    async with painting() as bench:
        found = await marked(bench, *heads)
    for path, content in found.items():
        expected = COMPOSITE if "edit" in path else TRAINED
        assert source_types(content) == [expected], path
        is_original = path in {"edit/0.png", "png/0.png", "jpeg/0.jpg", "webp/0.webp"}
        assert (b"idempotency_key" in content) is is_original
        with Image.open(io.BytesIO(content)) as image:
            assert not image.getexif()


async def test_a_mark_that_is_added_makes_the_forms_again_with_it(painting: Any) -> None:
    async with painting() as bench:
        found = await marked(bench, APART, f"provenance: {{mark: true}}\n{APART}")
    originals = {"edit/0.png", "png/0.png", "jpeg/0.jpg", "webp/0.webp"}
    assert {path for path, content in found.items() if not source_types(content)} == originals
