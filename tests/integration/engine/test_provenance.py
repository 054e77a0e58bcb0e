"""What made an output stands beside it and, if asked for, in it, and costs no image."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from crucible_batch import __version__
from crucible_batch.outputs import sidecars
from crucible_batch.runs.reporting import write_report_again

SHORT_JOBS = True

ONE = "{name: a, prompt: one}"
SIDECAR = "provenance: {sidecar: true}\n"
EMBED = "provenance: {sidecar: true, embed: true}\n"


def sidecar(bench, path="a/0.png"):
    return json.loads((bench.path / "out" / f"{path}.json").read_text(encoding="utf-8"))


def contents(out: Path, pattern: str = "[a-z]*/*") -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob(pattern))
    }


async def requests(bench) -> Counter[str]:
    return Counter((await bench.state())["requests"])


# -- beside it


async def test_a_sidecar_says_what_made_an_output(start):
    async with start() as bench:
        image = bench.picture("p.png")
        matrix = "prompt: '{{ style }} café', matrix: {style: [noir]}"
        job = f"{{name: a, {matrix}, image: {image}, workflow: qwen-edit}}"
        manifest = bench.manifest(job, head=SIDECAR)
        result = await bench.run(manifest)
        (row,) = result.jobs()
        content = (bench.path / "out" / row.outputs[0].path).read_bytes()
        found = sidecar(bench, row.outputs[0].path)
        saved_at = found.pop("saved_at")
        picture = bench.path / "p.png"
    assert saved_at.endswith("Z")
    assert found == {
        "schema_version": 1,
        "tool": "crucible-batch",
        "tool_version": __version__,
        "manifest": {"name": "trial", "sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()},
        "run_id": "default",
        "name": "a-noir",
        "axes": {"style": "noir"},
        "repeat": 1,
        "workflow_id": "qwen-edit",
        "prompt": "noir café",
        "params": row.params,
        "images": {
            "image.image": {
                "sha256": hashlib.sha256(picture.read_bytes()).hexdigest(),
                "filename": "p.png",
            },
        },
        "job_id": row.job_id,
        "idempotency_key": row.idempotency_key,
        "attempt": 1,
        "credits": str(row.credits),
        "output": {
            "index": 0,
            "file": Path(row.outputs[0].path).name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "byte_size": len(content),
            "mime_type": row.outputs[0].mime_type,
            "width": row.outputs[0].width,
            "height": row.outputs[0].height,
        },
        "sent": {"sha256": hashlib.sha256(content).hexdigest(), "byte_size": len(content)},
    }


async def test_neither_key_nor_link_nor_a_path_of_this_machine_is_in_what_is_written(start):
    async with start() as bench:
        image = bench.picture("p.png")
        manifest = bench.manifest(
            f"{{name: a, prompt: one, image: {image}, workflow: qwen-edit}}", head=EMBED
        )
        await bench.run(manifest)
        for content in contents(bench.path / "out").values():
            for secret in (
                bench.running.api_key,
                str(bench.path),
                "signature=",
                "http://127",
                "/crucible-outputs/",
            ):
                assert secret.lower().encode() not in content.lower()
        assert len(contents(bench.path / "out")) == 2


@pytest.mark.parametrize("how", ["not asked for", "option"])
async def test_without_sidecars_there_is_none_and_the_report_makes_none_either(start, how):
    async with start() as bench:
        head = SIDECAR if how == "option" else ""
        result = await bench.run(bench.manifest(ONE, head=head), sidecars=how != "option")
        write_report_again(bench.path / "out")
        assert result.exit_code == 0
        assert list(contents(bench.path / "out")) == ["a/0.png"]


async def test_what_is_missing_is_made_again_by_the_report_the_same_as_before(start):
    async with start() as bench:
        await bench.run(bench.manifest(f"{ONE}\n{{name: b, prompt: two}}", head=SIDECAR))
        out = bench.path / "out"
        before = contents(out)
        (out / "a/0.png.json").unlink()
        (out / "b/0.png.json").unlink()
        (out / "b/0.png").unlink()  # beside nothing there is nothing to say
        write_report_again(out)
        assert contents(out) == {
            path: content for path, content in before.items() if not path.startswith("b/")
        }


async def test_a_later_run_makes_what_is_missing_and_leaves_what_is_there(start):
    async with start() as bench:
        manifest = bench.manifest(f"{ONE}\n{{name: b, prompt: two}}", head=SIDECAR)
        await bench.run(manifest)
        out = bench.path / "out"
        (out / "a/0.png.json").unlink()
        manifest.write_text(manifest.read_text() + "# a word more\n")
        before, asked = contents(out), await requests(bench)
        result = await bench.run(manifest)
        after = contents(out)
        more = await requests(bench) - asked
    assert result.exit_code == 0
    assert not {"generate", "download"} & more.keys()
    assert before.items() <= after.items()
    assert list(after) == ["a/0.png", "a/0.png.json", "b/0.png", "b/0.png.json"]


async def test_a_sidecar_that_could_not_be_written_is_written_when_the_run_ends(start, monkeypatch):
    write, failures = sidecars._write, iter([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])

    def full_once(*args):
        if (failure := next(failures, None)) is not None:
            raise failure
        write(*args)

    monkeypatch.setattr(sidecars, "_write", full_once)
    async with start() as bench:
        two = f"{ONE}\n{{name: b, prompt: two}}"
        result = await bench.run(bench.manifest(two, head=SIDECAR))
        assert result.exit_code == 0
        assert next(failures, None) is None
        assert sorted(contents(bench.path / "out")) == [
            "a/0.png",
            "a/0.png.json",
            "b/0.png",
            "b/0.png.json",
        ]


# -- in it


async def embedded(bench, jobs: str = ONE):
    manifest = bench.manifest(jobs, head=EMBED)
    result = await bench.run(manifest)
    assert result.exit_code == 0
    return manifest, result


async def test_a_picture_carries_what_made_it_and_shows_the_same(start):
    async with start() as bench:
        plain = await bench.run(bench.manifest(ONE), out_dir=bench.path / "plain")
        _, result = await embedded(bench)
        (row,) = result.jobs()
        made = (bench.path / "out/a/0.png").read_bytes()
        sent = (bench.path / "plain/a/0.png").read_bytes()
        found = sidecar(bench)
        await bench.agree(plain)
    with Image.open(io.BytesIO(made)) as image, Image.open(io.BytesIO(sent)) as original:
        assert image.tobytes() == original.tobytes()
        text = json.loads(image.text["crucible-batch"])
    assert text == {
        "schema_version": 1,
        "tool": "crucible-batch",
        "manifest": "trial",
        "run_id": "default",
        "workflow_id": "zimage-base",
        "params": row.params,
        "images": {},
        "repeat": 1,
        "job_id": row.job_id,
        "idempotency_key": row.idempotency_key,
        "attempt": 1,
        "index": 0,
    }
    (output,) = row.outputs
    assert (output.sha256, output.byte_size) == (hashlib.sha256(made).hexdigest(), len(made))
    assert (output.sent.sha256, output.sent.byte_size) == (
        hashlib.sha256(sent).hexdigest(),
        len(sent),
    )
    assert found["sent"] == output.sent.model_dump()
    assert found["output"]["sha256"] == output.sha256


@pytest.mark.parametrize("lost", ["journal", "directory"])
async def test_what_a_lost_journal_or_directory_had_is_had_again_byte_for_byte(start, lost):
    async with start() as bench:
        manifest, first = await embedded(bench)
        out = bench.path / "out"
        before = contents(out, "*/*.png")
        shutil.rmtree(out / ".crucible" if lost == "journal" else out)
        asked = await requests(bench)
        second = await bench.run(manifest)
        await bench.agree(second)
        more = await requests(bench) - asked
        assert contents(out, "*/*.png") == before
        (row,) = second.jobs()
    assert row.outputs[0].sent == next(first.jobs()).outputs[0].sent
    assert more["download"] == (0 if lost == "journal" else 1)
    assert second.report.counts.reused == 1
