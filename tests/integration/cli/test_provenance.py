"""Sidecars as a user of the command meets them, a kill between an output and its own included."""

from __future__ import annotations

import json

import pytest
from PIL import Image


def test_every_sidecar_has_what_the_docs_name_and_no_more(cli):
    Image.new("RGB", (8, 8), "navy").save(cli.cwd / "mug.png")
    jobs = [
        '- {name: fox, prompt: "a {{ tone }} fox", matrix: {tone: [red, grey]}, repeat: 2}',
        "- {name: edit, workflow: qwen-edit, prompt: on marble, image: mug.png, params: {sampler.seed: 7}}",
    ]
    manifest = cli.write("described", "\n".join(jobs), head="provenance: {embed: true}\n")
    done = cli("run", manifest)
    assert done.code == 0, done.err
    found = [json.loads(path.read_text()) for path in (cli.cwd / "outputs/described/default").glob("*/0.*.json")]
    assert len(found) == 5
    for sidecar in found:
        assert set(sidecar) == {
            "schema_version", "tool", "tool_version", "manifest", "run_id", "name", "axes", "repeat", "workflow_id",
            "prompt", "params", "images", "job_id", "idempotency_key", "attempt", "credits", "output", "sent",
            "saved_at",
        }  # fmt: skip
        assert set(sidecar["manifest"]) == {"name", "sha256"}
        assert set(sidecar["output"]) == {"index", "file", "sha256", "byte_size", "mime_type", "width", "height"}
        assert set(sidecar["sent"]) == {"sha256", "byte_size"}


def test_report_makes_a_lost_sidecar_again(cli):
    manifest = cli.write("lost")
    assert cli("run", manifest).code == 0
    sidecar = cli.cwd / "outputs/lost/default/fox/0.png.json"
    before = sidecar.read_bytes()
    sidecar.unlink()
    assert cli("report", "outputs/lost/default").code == 0
    assert sidecar.read_bytes() == before


@pytest.mark.parametrize("options", [["--no-sidecars"], []])
def test_no_sidecars_is_a_switch(cli, options):
    manifest = cli.write("switch" + "-off" * len(options))
    assert cli("run", manifest, *options).code == 0
    found = [path.name for path in (cli.cwd / "outputs").rglob("*.png.json")]
    assert found == ([] if options else ["0.png.json"])


def test_a_users_own_file_in_the_place_of_a_sidecar_is_a_note_and_no_failure(cli):
    manifest = cli.write("own")
    own = cli.cwd / "outputs/own/default/fox/0.png.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    done = cli("run", manifest)
    assert done.code == 0
    assert done.err.count("another file exists there (the output itself is saved)") == 1
    assert own.read_text() == "mine"
