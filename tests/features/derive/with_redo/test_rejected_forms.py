"""What was derived from a rejected take is gone, and never stands for another picture."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.features.derive import encoder
from crucible_batch.features.derive.rule import DerivedForm
from crucible_batch.features.redo.places import Places
from crucible_batch.features.redo.rejecting import rejects_file_of
from tests.features.derive.test_derived_runs import ONE, WEBP, derived, files
from tests.harness import painted_pictures

SHORT_JOBS = True


class KilledError(BaseException):
    """A kill, which no code handles."""


async def killed(*_given: Any) -> None:
    raise KilledError


def reject(out: Path, *lines: str) -> None:
    rejects_file_of(out).write_text("".join(f"{line}\n" for line in lines))


def form_of(out: Path, path: str) -> bytes:
    with (out / path).open("rb") as file:
        return encoder.encode(file, DerivedForm("webp", 80, None)).content


async def test_the_next_generation_is_derived_and_taking_the_line_back_shows_the_first_again(
    painting: Any,
) -> None:
    async with painting() as bench:
        out, manifest = bench.path / "out", bench.manifest(ONE, head=WEBP)
        await bench.run(manifest)
        first = files(out)
        digest = hashlib.sha256(first["a/0.png"]).hexdigest()
        reject(out, f"a/0 g0 {digest[:12]}")
        await bench.run(manifest)
        second = files(out)
        assert second["a/0.png"] != first["a/0.png"]
        assert second["a/0.webp"] == form_of(out, "a/0.png") != first["a/0.webp"]
        assert first["a/0.webp"] not in second.values()
        assert list(derived(out)) == ["a/0.webp"]
        reject(out)
        result = await bench.run(manifest)
        third = files(out)
        assert (third["a/0.png"], third["a/0.webp"]) == (first["a/0.png"], first["a/0.webp"])
        reject(out, f"a/0 g0 {digest[:12]}")
        await bench.run(manifest)
        assert files(out)["a/0.webp"] == second["a/0.webp"]
        assert len((await bench.agree(result))["jobs"]) == 2


async def test_a_rejected_picture_without_another_one_has_no_derived_file(painting: Any) -> None:
    """Such as if the budget has no room: then nothing is left that may be published."""
    async with painting() as bench:
        out = bench.path / "out"
        head = f"{WEBP}redo: {{max: 0}}\n"
        await bench.run(bench.manifest(ONE, head=head))
        digest = hashlib.sha256(files(out)["a/0.png"]).hexdigest()
        reject(out, f"a/0 g0 {digest[:12]}")
        await bench.run(bench.manifest(ONE, head=head))
        assert "a/0.webp" not in files(out)
        # Also of a run that derives nothing any more.
        reject(out)
        await bench.run(bench.manifest(ONE, head=head))
        assert "a/0.webp" in files(out)
        reject(out, f"a/0 g0 {digest[:12]}")
        await bench.run(bench.manifest(ONE, head="redo: {max: 0}\n"))
        assert "a/0.webp" not in files(out)


async def test_a_picture_that_is_found_to_be_rejected_in_the_run_has_none_after_it(
    painting: Any,
) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        manifest = bench.manifest(ONE, head=f"{WEBP}rejects: bad.txt\nredo: {{max: 0}}\n")
        await bench.run(manifest)
        digest = hashlib.sha256(files(out)["a/0.png"]).hexdigest()
        (bench.path / "bad.txt").write_text(f"a/0 g0 {digest[:12]}\n")
        shutil.rmtree(out)
        await bench.run(manifest)
        assert list(files(out)) == ["a/0.png"]
        assert len((await bench.state())["jobs"]) == 1


async def test_a_form_of_a_rejected_picture_is_gone_before_another_gets_its_path(
    painting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a kill leaves no form of it beside the next picture."""
    async with painting() as bench:
        out, manifest = bench.path / "out", bench.manifest(ONE, head=WEBP)
        await bench.run(manifest)
        digest = hashlib.sha256(files(out)["a/0.png"]).hexdigest()
        reject(out, f"a/0 g0 {digest[:12]}")
        monkeypatch.setattr(Places, "settle", killed)
        with pytest.raises(KilledError):
            await bench.run(manifest)
        assert list(files(out)) == ["a/0.png"]


async def test_a_generation_in_the_format_of_the_form_gets_its_path(
    painting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is lost, so that both generations arrive in one run: the first is derived before
    the second needs that path."""
    painted = painted_pictures.painted
    kinds = iter(["png", "webp"])

    def of_next_kind(job: Any, index: int, source: bytes | None) -> bytes:
        monkeypatch.setattr(
            painted_pictures, "FORMATS", (made.setdefault(job.job_id, next(kinds, "webp")),)
        )
        job.params["kind"] = made[job.job_id]
        content = painted(job, index, source)
        del job.params["kind"]
        return content

    made: dict[str, str] = {}
    monkeypatch.setattr("crucible_batch.sandbox.pictures.render", of_next_kind)
    async with painting() as bench:
        monkeypatch.setattr("crucible_batch.sandbox.pictures.render", of_next_kind)
        out, manifest = bench.path / "out", bench.manifest("{name: a, prompt: x}", head=WEBP)
        await bench.run(manifest)
        (sent,) = (each for name, each in files(out).items() if name.endswith(".png"))
        digest = hashlib.sha256(sent).hexdigest()
        reject(out, f"a/0 g0 {digest[:12]}")
        result = await bench.run(manifest)
        assert result.exit_code == 0
        (row,) = result.jobs()
        assert (row.outputs[0].generation, row.outputs[0].path.name) == (1, "0.webp")
        content = row.outputs[0].path.read_bytes()
        assert row.outputs[0].sha256 == hashlib.sha256(content).hexdigest()
