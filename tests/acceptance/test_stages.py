"""Stages, picks, control and agents against a gateway that we did not write; the judge is its ledger."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from judging import (
    RUN,
    amounts,
    assert_contract_kept,
    command,
    environment,
    report_of,
    run_dir,
    run_killed_at,
    small_manifest,
    start,
)
from other_gateway import OtherGateway
from other_world import UPLOAD_PRICE, WORKFLOWS, render

from tests.preloaded import COMMAND

DRAFT, FINAL = WORKFLOWS["Paint.Text"].price, WORKFLOWS["Enlarge.x2"].price
STAGES = """\
version: 1
name: herons
workflow: Paint.Text
budget: {{credits: {budget}, max_credits_per_job: 1.25, max_credits_per_upload: 0.05}}
jobs:
  - {{name: draft, prompt: "A heron, study {{{{ repeat }}}}", repeat: {drafts}}}
  - {{name: "final-{{{{ source.name }}}}", from: "draft*", {pick}workflow: Enlarge.x2}}
"""
PICKED = (1, 3, 12, 25, 33, 40)


def write_stages(folder: Path, *, drafts: int, budget: str, pick: str = "") -> None:
    text = STAGES.format(drafts=drafts, budget=budget, pick=pick)
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")


def draft(number: int) -> bytes:
    """Return the bytes of a draft, as the gateway draws them."""
    return render("Paint.Text", {"prompt.value": f"A heron, study {number}"}, 1, "PNG")


def final(number: int) -> bytes:
    """Return the bytes of what the gateway makes of a draft."""
    return render("Enlarge.x2", {"image.image": digest(draft(number))}, 4, "PNG")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def printed(output: str, subject: str) -> list[str]:
    """Return the arguments of the command that a line of the summary names."""
    (line,) = [line for line in output.splitlines() if line.split(None, 1)[:1] == [subject]]
    program, *arguments = shlex.split(line)[1:]
    assert program == "crucible-batch"
    return arguments


def assert_stages_bought_once(gateway: OtherGateway, drafts: range, finals: tuple[int, ...]) -> None:
    """Each job was bought once, by what was asked for, and each picture that was needed was sent once."""
    assert_contract_kept(gateway)
    wanted = [{"prompt.value": f"A heron, study {number}"} for number in drafts]
    sources = [digest(draft(number)) for number in finals]
    wanted += [{"image.image": source} for source in sources]
    bought = Counter(json.dumps(job.asked, sort_keys=True) for job in gateway.jobs.values())
    assert bought == Counter(json.dumps(asked, sort_keys=True) for asked in wanted)
    sent = [digest(asset.content) for asset in gateway.assets.values() if asset.content is not None]
    assert sorted(sent) == sorted(sources)


def assert_stages_saved(folder: Path, drafts: range, finals: tuple[int, ...]) -> None:
    """Each picture is there, byte for byte, and the row of each of the second stage names its source."""
    report = report_of(folder, "herons")
    names = [f"draft-{number}" for number in drafts] + [f"final-draft-{number}" for number in finals]
    assert [job["name"] for job in report["jobs"]] == names
    contents = [*map(draft, drafts), *map(final, finals)]
    for job, content in zip(report["jobs"], contents, strict=True):
        (output,) = job["outputs"]
        assert (run_dir(folder, "herons") / output["path"]).read_bytes() == content
        assert (job["status"], output["sha256"]) == ("succeeded", digest(content))
    paths = {job["name"]: job["outputs"][0]["path"] for job in report["jobs"]}
    for number, job in zip(finals, report["jobs"][len(drafts) :], strict=True):
        name = f"draft-{number}"
        assert job["source"] == {"name": name, "index": 0, "path": paths[name], "sha256": digest(draft(number))}
    assert (report["status"], report["waiting"]) == ("succeeded", [])
    assert amounts(report)["jobs"] == len(drafts) * DRAFT + len(finals) * FINAL


@pytest.mark.parametrize(
    ("what", "number"),
    [("job", 43), pytest.param("job", 46, marks=pytest.mark.slow), pytest.param("asset", 3, marks=pytest.mark.slow)],
)
def test_drafts_and_picks_survive_two_kills_and_a_lost_directory_and_nothing_is_paid_twice(
    gateway: OtherGateway, tmp_path: Path, what: str, number: int
) -> None:
    budget = Decimal("12.1")  # what is asked for costs 11.8; and each of six uploads may have to be paid again
    write_stages(tmp_path, drafts=40, budget=str(budget), pick="pick: picks.txt, ")
    run_killed_at(gateway, tmp_path, "job", 17)
    ended = command(gateway, tmp_path, *RUN, expect=0)
    assert_stages_bought_once(gateway, range(1, 41), ())
    assert [(each["pick"], each["choices"]) for each in report_of(tmp_path, "herons")["waiting"]] == [("picks.txt", 40)]

    more = [f"draft-{each}" for each in PICKED[1:]]  # the command that is printed picks the first
    go_on = printed(command(gateway, tmp_path, *printed(ended, "next"), *more, expect=0), "next")
    run_killed_at(gateway, tmp_path, what, number, *go_on)
    shutil.rmtree(tmp_path / "outputs")
    command(gateway, tmp_path, *go_on, expect=0)

    assert_stages_bought_once(gateway, range(1, 41), PICKED)
    assert_stages_saved(tmp_path, range(1, 41), PICKED)
    # An intent that was paid and whose answer was lost has no address to send the picture to: another one is needed.
    unsent = sum(asset.content is None for asset in gateway.assets.values())
    assert unsent <= len(PICKED)
    assert gateway.total("charge") == (len(PICKED) + unsent) * UPLOAD_PRICE
    assert gateway.peak() <= budget
    assert (run_dir(tmp_path, "herons") / "report.html").is_file()


def test_a_run_is_paused_and_resumed_under_load_and_buys_nothing_in_between(
    gateway: OtherGateway, tmp_path: Path
) -> None:
    write_stages(tmp_path, drafts=20, budget="40")
    both_stages, paused = threading.Event(), threading.Event()

    def note(what: str, count: int) -> None:
        if (what, count) == ("job", 25):
            both_stages.set()
        if (what, count) == ("job", 30):  # a machine on which `ctl` takes long must not finish the run before it
            paused.wait(120)

    def control(*words: str) -> dict[str, Any]:
        done = command(gateway, tmp_path, "ctl", str(run_dir(tmp_path, "herons")), *words, "--json", expect=0)
        data: dict[str, Any] = json.loads(done.splitlines()[-1])["data"]
        return data

    gateway.before_answer = note
    process = start(gateway, tmp_path, *RUN, "-c", "8")
    try:
        assert both_stages.wait(120)
        assert {job.workflow for job in list(gateway.jobs.values())} == {"Paint.Text", "Enlarge.x2"}
        assert control("pause")["message"].startswith("paused; ")
        mark = len(gateway.requests)
        paused.set()
        while control("pause")["in_flight"] or not all(job.shown for job in list(gateway.jobs.values())):
            assert process.poll() is None
        posted = [row for row in gateway.requests[mark:] if row["method"] == "POST"]
        collected = [job["status"] for job in gateway.judge()["jobs"]]
        assert control("resume")["message"].startswith("resumed after ")
        assert process.wait(120) == 0
    finally:
        paused.set()
        process.kill()
        process.wait()
    assert posted == []
    assert 25 <= len(collected) < 40
    assert set(collected) == {"succeeded"}
    drafts = tuple(range(1, 21))
    assert_stages_bought_once(gateway, range(1, 21), drafts)
    assert_stages_saved(tmp_path, range(1, 21), drafts)
    assert gateway.spent() == 20 * (DRAFT + FINAL + UPLOAD_PRICE)


async def test_an_mcp_client_plans_and_is_refused_a_run_beyond_its_allowance(
    gateway: OtherGateway, tmp_path: Path
) -> None:
    from mcp import Client, StdioServerParameters, stdio_client  # each worker imports this module: this takes 0.4 s

    small_manifest(tmp_path, "3, max_credits_per_job: 0.75", "{name: jar, prompt: a jar, repeat: 4}")
    options = ["agent", "mcp", "--allow-spend", "2.3"]
    server = StdioServerParameters(command=COMMAND, args=options, env=environment(gateway, tmp_path), cwd=tmp_path)

    async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
        (content,) = (await client.call_tool(tool, {"manifest": "manifest.yaml", **arguments})).content
        answer: dict[str, Any] = json.loads(content.text)  # type: ignore[union-attr]
        return answer

    def refused(answer: dict[str, Any]) -> bool:
        return (answer["exit_code"], answer["error"]["code"]) == (4, "SPEND_LIMIT")

    async with Client(stdio_client(server)) as client:
        planned = (await call(client, "plan"))["data"]
        assert (planned["total"], planned["credits"]["at_most"]) == (4, "3")
        assert refused(await call(client, "run"))
        assert gateway.ledger == []
        ran = await call(client, "run", budget="2.2")
        assert ran["data"]["counts"]["succeeded"] == len(gateway.jobs) == 2
        assert refused(await call(client, "run", run_id="second", budget="0.85"))
        assert gateway.spent() == Decimal("1.5")
        last = (await call(client, "run", run_id="second", budget="0.75"))["data"]
        assert last["counts"]["succeeded"] == 1
        assert last["allow_spend"] == {"limit": "2.3", "spent": "2.25", "set_aside": "0", "left": "0.05"}
        assert refused(await call(client, "run", run_id="third", budget="0.75"))
    assert gateway.spent() == gateway.peak() == Decimal("2.25")
    assert_contract_kept(gateway)
