"""An output that was deleted or changed is fetched again, and nothing is bought for it."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import httpx
import pytest
from PIL import Image

from crucible_batch import run
from crucible_batch.sandbox import SandboxConfig, serve
from crucible_batch.settings import Settings

MANIFEST = """
version: 1
name: missed
workflow: zimage-sheet
budget: {credits: 20}
jobs:
  - {name: a, prompt: a boat}
  - {name: b, prompt: a barn}
"""


async def test_a_deleted_output_comes_back_for_no_credits(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST, encoding="utf-8")
    async with serve(SandboxConfig(time_scale=0)) as gateway, httpx.AsyncClient() as judge:
        settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url)
        first = await run(tmp_path / "m.yaml", out_dir=tmp_path / "out", settings=settings)
        before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
        lost = tmp_path / "out" / "a" / "1.png"
        lost.unlink()
        again = await run(tmp_path / "m.yaml", out_dir=tmp_path / "out", settings=settings)
        state = (await judge.get(f"{gateway.api_url}/_sandbox/state")).json()
    assert len(before) == 4
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == before
    assert (first.ok, again.ok) == (True, True)
    assert again.report.credits.spent == first.report.credits.spent
    assert len(state["jobs"]) == 2
    assert state["requests"]["generate"] == 2
    assert state["requests"]["download"] == 5


TWO = "{name: a, prompt: a boat, workflow: zimage-sheet}\n{name: b, prompt: a barn}"


def pictures(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.png"))
    }


def aside(path: str, content: bytes) -> str:
    return f"{path}.damaged-{hashlib.sha256(content).hexdigest()[:8]}"


async def test_a_changed_output_is_fetched_again_and_the_changed_file_is_kept(
    start, caplog: pytest.LogCaptureFixture
):
    async with start() as bench:
        manifest = bench.manifest(TWO, head="provenance: {sidecar: true}\n")
        first = await bench.run(manifest)
        out = bench.path / "out"
        before = pictures(out)
        (out / "a/0.png").write_bytes(b"retouched")
        (out / "a/0.png.json").unlink()
        cut = before["b/0.png"][:40]
        (out / "b/0.png").write_bytes(cut)
        with caplog.at_level(logging.WARNING):
            again = await bench.run(manifest)
        state = await bench.agree(again)
    kept = aside("a/0.png", b"retouched")
    assert pictures(out) == before
    assert (out / kept).read_bytes() == b"retouched"
    assert (out / "a/0.png.json").exists()
    assert (out / aside("b/0.png", cut)).read_bytes() == cut
    assert (
        f"a/0.png was changed after it was saved; the changed file is now {kept}" in caplog.messages
    )
    assert (again.ok, again.report.credits) == (True, first.report.credits)
    assert (state["requests"]["generate"], state["requests"]["download"]) == (2, 3 + 2)


async def test_the_changed_file_stays_if_the_gateway_no_longer_has_the_output(start, tampered):
    async def gone(request: httpx.Request, send) -> httpx.Response:
        if "/api/v1/jobs/" in request.url.path:
            return httpx.Response(
                404, json={"success": False, "error": "gone", "code": "JOB_NOT_FOUND"}
            )
        return await send()

    async with start() as bench:
        first = await bench.run(manifest := bench.manifest(TWO))
        out = bench.path / "out"
        before = pictures(out)
        (out / "a/0.png").write_bytes(b"retouched")
        again = await bench.run(manifest, transport=tampered(gone))
        state = await bench.agree(again)
        assert pictures(out) == {**before, "a/0.png": b"retouched"}
        assert not list(out.rglob("*.damaged-*"))
        error = {row.name: row.error for row in again.jobs()}["a"]
        assert error is not None
        assert (again.exit_code, error.code) == (1, "OUTPUT_UNAVAILABLE")
        assert state["requests"]["generate"] == 2
        # The gateway has it again: the next run completes what this one could not.
        third = await bench.run(manifest)
    assert (third.ok, third.report.credits) == (True, first.report.credits)
    assert pictures(out) == before
    assert (out / aside("a/0.png", b"retouched")).read_bytes() == b"retouched"


async def test_the_changed_file_stays_if_the_gateway_sends_other_bytes(start, tampered):
    other = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(other, "PNG")

    async def changed(request: httpx.Request, send) -> httpx.Response:
        if "/api/v1/" in request.url.path:
            return await send()
        return httpx.Response(200, content=other.getvalue(), headers={"Content-Type": "image/png"})

    async with start() as bench:
        await bench.run(manifest := bench.manifest("{name: b, prompt: a barn}"))
        out = bench.path / "out"
        (out / "b/0.png").write_bytes(b"retouched")
        again = await bench.run(manifest, transport=tampered(changed))
    assert pictures(out) == {"b/0.png": b"retouched"}
    assert [row.error.code for row in again.jobs() if row.error] == ["OUTPUT_CHANGED"]


async def test_a_changed_output_of_a_renamed_job_is_saved_under_its_new_name(start):
    async with start() as bench:
        await bench.run(bench.manifest("{name: b, prompt: a barn}"))
        out = bench.path / "out"
        before = pictures(out)["b/0.png"]
        (out / "b/0.png").write_bytes(b"retouched")
        again = await bench.run(bench.manifest("{name: barn, prompt: a barn}"))
        state = await bench.agree(again)
    assert pictures(out) == {"b/0.png": b"retouched", "barn/0.png": before}
    assert (again.ok, state["requests"]["generate"]) == (True, 1)


async def test_the_output_of_a_job_that_left_makes_room_for_a_deleted_one_wanted_again(
    start,
):
    async with start() as bench:
        out = bench.path / "out"
        # The sizes differ, which is all that a run compares.
        embed = "provenance: {embed: true}\n"
        await bench.run(bench.manifest(one := "{name: a, prompt: one}", head=embed))
        old = pictures(out)["a/0.png"]
        (out / "a/0.png").unlink()
        await bench.run(bench.manifest("{name: a, prompt: another}", head=embed))
        new = pictures(out)["a/0.png"]
        assert len(new) != len(old)
        again = await bench.run(bench.manifest(one, head=embed))
        state = await bench.agree(again)
        kept = f"a/0.{hashlib.sha256(new).hexdigest()[:8]}.png"
        assert pictures(out) == {"a/0.png": old, kept: new}
        assert not list(out.rglob("*.damaged-*"))
    await bench.verify()
    assert (again.ok, state["requests"]["generate"]) == (True, 2)
