"""Sidecars as a user of the command meets them, a kill between an output and its own included."""

from __future__ import annotations

import json
import signal
import textwrap

import pytest
from PIL import Image

from tests.preloaded import start_program

KILLED_BEFORE_A_SIDECAR = """
    import os, sys
    from crucible_batch.cli import main
    from crucible_batch.outputs import sidecars

    sidecars._write = lambda *_args: os.kill(os.getpid(), 9)
    sys.argv = ["crucible-batch", "run", sys.argv[1], "-q"]
    main()
"""


def test_a_kill_between_an_output_and_its_sidecar_costs_nothing_and_both_stand_there_in_the_end(cli, report_of):
    manifest = cli.write("killed", "- {name: fox, prompt: a fox}\n- {name: hen, prompt: a hen}")
    killed = start_program(textwrap.dedent(KILLED_BEFORE_A_SIDECAR), manifest, cwd=cli.cwd, env=cli.environment)
    out = cli.cwd / "outputs/killed/default"
    assert killed.wait(timeout=120) == -signal.SIGKILL
    assert list(out.glob("*/0.png"))
    assert not list(out.glob("*/*.json"))
    assert cli("run", manifest).code == 0
    files = sorted(path.relative_to(out).as_posix() for path in out.glob("[a-z]*/*"))
    files += [path.name for path in out.rglob(".crucible-part-*")]
    assert files == ["fox/0.png", "fox/0.png.json", "hen/0.png", "hen/0.png.json"]
    report = report_of(out)
    assert (report["credits"]["spent"], report["counts"]["succeeded"]) == ("4", 2)
    for job in report["jobs"]:
        sidecar = json.loads((out / job["name"] / "0.png.json").read_text())
        assert sidecar["job_id"] == job["job_id"]
        assert sidecar["output"]["sha256"] == job["outputs"][0]["sha256"]


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
