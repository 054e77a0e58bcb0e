"""The product as a user has it, against a gateway that we did not write: every clause of the acceptance criterion."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from other_gateway import OtherGateway
from other_world import REBATE, UPLOAD_PRICE, WORKFLOWS, render
from PIL import Image

from crucible_batch.api import run
from crucible_batch.settings import Settings

COMMAND = [sys.executable, "-m", "crucible_batch"]
RUN = ["run", "manifest.yaml"]
WRITING = ("POST", "PUT", "DELETE", "PATCH")
EXTENSIONS = {"PNG": ("png", "image/png"), "JPEG": ("jpg", "image/jpeg"), "WEBP": ("webp", "image/webp")}

MANIFEST = """\
version: 1
name: acceptance
workflow: Paint.Text
budget: {credits: 40}
vars: {brand: Acme}
workflows:
  edit.v2: {params: {strength: 0.5}}
jobs:
  - name: plain
    prompt: "A lighthouse at the cafe\\u0301, {{ brand }}"
    params: {width.value: 640, seed.value: 9007199254740993}
  - name: grid
    prompt: "{{ style }}, take {{ take }}"
    matrix: {style: [noir, watercolor], take: [1, 2]}
  - name: retouch
    workflow: edit.v2
    prompt: "@prompts/retouch.txt"
    image: photos/mug.png
  - name: "sku-{{ row.sku }}"
    foreach: products.csv
    workflow: edit.v2
    prompt: "{{ row.title }} on marble"
    image: "photos/{{ row.photo }}"
    params: {seed: "{{ row.seed | int }}"}
  - name: again
    workflow: bare
    prompt: the same picture
    repeat: 3
"""


@dataclass(frozen=True)
class Wanted:
    """One job that the manifest asks for, worked out by hand."""

    name: str
    workflow: str
    params: dict[str, Any]
    photo: str | None = None

    def asked(self, folder: Path) -> dict[str, Any]:
        return self.params | ({"image.image": digest(folder / "photos" / self.photo)} if self.photo else {})

    def outputs(self, folder: Path) -> list[tuple[str, bytes]]:
        """Its outputs as (format, bytes), in the order of the gateway's output_index."""
        asked = self.asked(folder)
        return [
            (fmt, render(self.workflow, asked, index, fmt)) for index, fmt in sorted(WORKFLOWS[self.workflow].outputs)
        ]


WANTED = [
    Wanted(
        "plain",
        "Paint.Text",
        {"prompt.value": "A lighthouse at the cafe\u0301, Acme", "width.value": 640, "seed.value": 9007199254740993},
    ),
    Wanted("grid-noir-1", "Paint.Text", {"prompt.value": "noir, take 1"}),
    Wanted("grid-noir-2", "Paint.Text", {"prompt.value": "noir, take 2"}),
    Wanted("grid-watercolor-1", "Paint.Text", {"prompt.value": "watercolor, take 1"}),
    Wanted("grid-watercolor-2", "Paint.Text", {"prompt.value": "watercolor, take 2"}),
    Wanted("retouch", "edit.v2", {"prompt.text": "Retouch it for Acme", "strength": 0.5}, "mug.png"),
    Wanted("sku-001", "edit.v2", {"prompt.text": "Mug, blue on marble", "strength": 0.5, "seed": 1}, "mug.png"),
    Wanted("sku-002", "edit.v2", {"prompt.text": "Same mug on marble", "strength": 0.5, "seed": 20}, "mug-copy.png"),
    Wanted("sku-003", "edit.v2", {"prompt.text": "Vase on marble", "strength": 0.5, "seed": 300}, "vase.jpg"),
    Wanted("sku-004", "edit.v2", {"prompt.text": "Lampe à huile on marble", "strength": 0.5, "seed": 4}, "lamp.webp"),
    *(Wanted(f"again-{k}", "bare", {"prompt.text": "the same picture"}) for k in (1, 2, 3)),
]
PHOTOS = {"mug.png", "vase.jpg", "lamp.webp"}  # the distinct ones
COST = sum((WORKFLOWS[job.workflow].price for job in WANTED), Decimal(0)) + UPLOAD_PRICE * len(PHOTOS)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: manifest, photos (one of them twice), a prompt file, a table."""
    (tmp_path / "photos").mkdir()
    for name in PHOTOS:
        Image.frombytes("RGB", (16, 16), hashlib.shake_256(name.encode()).digest(768)).save(tmp_path / "photos" / name)
    shutil.copyfile(tmp_path / "photos/mug.png", tmp_path / "photos/mug-copy.png")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/retouch.txt").write_text("Retouch it for {{ brand }}\n", encoding="utf-8")
    (tmp_path / "products.csv").write_text(
        "sku,title,photo,seed\n"
        '001,"Mug, blue",mug.png,1\n'
        "002,Same mug,mug-copy.png,20\n"
        "003,Vase,vase.jpg,300\n"
        "004,Lampe à huile,lamp.webp,4\n",
        encoding="utf-8",
    )
    (tmp_path / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    return tmp_path


def environment(gateway: OtherGateway, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "PYTHONPATH", "TMPDIR"}}
    return {**kept, "HOME": str(folder), "MOLTAZINE_API_KEY": gateway.api_key, "CRUCIBLE_API_BASE": gateway.api_url}


def command(gateway: OtherGateway, folder: Path, *arguments: str, expect: int) -> str:
    """Run the product's command and return its standard output. It must end with ``expect`` and never name the key."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(gateway, folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert gateway.api_key not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def run_dir(folder: Path, name: str = "acceptance") -> Path:
    return folder / "outputs" / name / "default"


def report_of(folder: Path, name: str = "acceptance") -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run_dir(folder, name) / "report.json").read_text(encoding="utf-8"))
    return report


def amounts(report: dict[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in report["credits"].items() if text is not None}


def identities(report: dict[str, Any]) -> list[tuple[object, ...]]:
    """What must be the same however a run came to its end."""
    return [
        (
            job["name"],
            job["job_id"],
            job["idempotency_key"],
            job["params"],
            [(o["path"], o["sha256"]) for o in job["outputs"]],
        )
        for job in report["jobs"]
    ]


def small_manifest(folder: Path, budget: str, *jobs: str) -> None:
    lines = ["version: 1", "name: small", "workflow: bare", f"budget: {{credits: {budget}}}", "jobs:"]
    (folder / "manifest.yaml").write_text("\n".join([*lines, *(f"  - {job}" for job in jobs), ""]), encoding="utf-8")


# -- what must hold after any run -------------------------------------------------------------------------------------


def assert_contract_kept(gateway: OtherGateway) -> None:
    """No breach of the contract; keys on all jobs, none of them shared; the key at the API and nowhere else."""
    assert gateway.violations == []
    keys = [job.key for job in gateway.jobs.values()]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    at_storage = [request for request in gateway.requests if request["where"] == "storage"]
    assert not any(gateway.api_key in str(request) or "authorization" in request["headers"] for request in at_storage)


def assert_bought_once(gateway: OtherGateway, folder: Path, wanted: Sequence[Wanted] = WANTED) -> None:
    """Counted by what was asked for, not by key: a retry under another key would show."""

    def counted(pairs: list[tuple[str, dict[str, Any]]]) -> Counter[str]:
        return Counter(json.dumps(pair, sort_keys=True) for pair in pairs)

    bought = counted([(job.workflow, job.asked) for job in gateway.jobs.values()])
    assert bought == counted([(job.workflow, job.asked(folder)) for job in wanted])


def assert_uploaded_once(gateway: OtherGateway, folder: Path) -> None:
    """Each distinct image is kept once, and its bytes were sent once."""
    kept = [asset for asset in gateway.assets.values() if not asset.deleted]
    stored = [hashlib.sha256(asset.content or b"").hexdigest() for asset in kept]
    assert sorted(stored) == sorted(digest(folder / "photos" / name) for name in PHOTOS)
    assert len(gateway.seen("storage", "PUT")) == len(PHOTOS)


def assert_books_agree(gateway: OtherGateway, report: dict[str, Any], *, never_arrived: int = 0) -> None:
    """The report's credits are the ledger's, to the last digit.

    ``never_arrived`` upload intents were decided on and, by a kill, not sent: nobody but we can know that, so each may
    stay held at the price of an upload.
    """
    told = amounts(report)
    assert told["spent"] == gateway.spent()
    assert told["jobs"] == gateway.total("consume")
    assert told["uploads"] == gateway.total("charge")
    assert told["rebates"] == gateway.total("rebate")
    assert told["refunded"] == gateway.total("refund")
    assert gateway.reserved() == 0
    assert told["held"] == report["credits"].get("lost_uploads", 0) * UPLOAD_PRICE
    assert report["credits"].get("lost_uploads", 0) <= never_arrived
    assert told["over_budget"] == max(Decimal(0), gateway.spent() - told["budget"])


def assert_outputs_true(folder: Path, report: dict[str, Any], wanted: Sequence[Wanted] = WANTED) -> None:
    """Each output is what the gateway drew, byte for byte, under the type that it really has."""
    assert [(job["name"], job["workflow_id"]) for job in report["jobs"]] == [(job.name, job.workflow) for job in wanted]
    for told, job in zip(report["jobs"], wanted, strict=True):
        expected = job.outputs(folder)
        assert told["status"] == "succeeded"
        assert len(told["outputs"]) == len(expected)
        for output, (fmt, content) in zip(told["outputs"], expected, strict=True):
            path = run_dir(folder) / output["path"]
            assert path.resolve().is_relative_to(run_dir(folder).resolve())
            assert path.read_bytes() == content
            assert output["sha256"] == hashlib.sha256(content).hexdigest()
            assert (output["byte_size"], output["width"], output["height"]) == (len(content), 24, 16)
            assert (path.suffix[1:], output["mime_type"]) == EXTENSIONS[fmt]


def assert_only_results_remain(gateway: OtherGateway, folder: Path, report: dict[str, Any]) -> None:
    """Neither the key nor a signed address is in any file, and no picture lies about that the report doesn't name."""
    files = [path for path in run_dir(folder).rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        assert gateway.api_key.encode() not in content, path
        assert b"Signature=" not in content, path
    paths = [output["path"] for job in report["jobs"] for output in job["outputs"]]
    named = {run_dir(folder) / f"{path}{beside}" for path in paths for beside in ("", ".json")}
    results = {
        path
        for path in files
        if not path.relative_to(run_dir(folder)).parts[0].startswith((".", "report.", "receipts."))
    }
    assert results == named


def assert_all_is_well(gateway: OtherGateway, folder: Path) -> dict[str, Any]:
    report = report_of(folder)
    assert report["status"] == "succeeded"
    assert report["counts"]["succeeded"] == report["counts"]["total"] == len(WANTED)
    assert_contract_kept(gateway)
    assert_bought_once(gateway, folder)
    assert_outputs_true(folder, report)
    assert_only_results_remain(gateway, folder, report)
    return report


def assert_costs_nothing(gateway: OtherGateway, requests_before: int, ledger_before: int) -> None:
    later = gateway.requests[requests_before:]
    assert [request for request in later if request["method"] in WRITING or request["where"] == "storage"] == []
    assert len(gateway.ledger) == ledger_before


def assert_lost_answer_made_good(gateway: OtherGateway, folder: Path, lost: range, *, never_arrived: int = 0) -> None:
    """No job was bought twice; uploads whose answers were lost were given back, and the books know all of it."""
    report = assert_all_is_well(gateway, folder)
    assert_uploaded_once(gateway, folder)
    assert_books_agree(gateway, report, never_arrived=never_arrived)
    extra = len(gateway.assets) - len(PHOTOS)
    assert extra in lost
    assert gateway.spent() == COST + extra * (UPLOAD_PRICE - REBATE)


# -- the tests --------------------------------------------------------------------------------------------------------


def test_a_manifest_of_every_kind_of_job_runs_true_and_its_second_run_is_free(
    gateway: OtherGateway, folder: Path
) -> None:
    lines = [json.loads(line) for line in command(gateway, folder, *RUN, "--json", expect=0).splitlines()]
    assert all("type" in line and "at" in line for line in lines[:-1])
    assert (lines[-1]["type"], lines[-1]["ok"], lines[-1]["exit_code"]) == ("result", True, 0)
    report = assert_all_is_well(gateway, folder)
    assert_uploaded_once(gateway, folder)
    assert_books_agree(gateway, report)
    assert gateway.spent() == COST
    assert gateway.peak() <= 40
    by_id = {job["job_id"]: job for job in report["jobs"]}
    assert by_id.keys() == gateway.jobs.keys()
    for job_id, job in gateway.jobs.items():
        assert by_id[job_id]["idempotency_key"] == job.key
        assert Decimal(by_id[job_id]["credits"]) == job.price
    assert report["jobs"][0]["params"]["seed.value"] == 9007199254740993

    requests, rows = len(gateway.requests), len(gateway.ledger)
    command(gateway, folder, *RUN, expect=0)
    assert_costs_nothing(gateway, requests, rows)
    again = assert_all_is_well(gateway, folder)
    assert_books_agree(gateway, again)
    assert again["jobs"] == report["jobs"]


async def test_the_python_api_does_the_same(gateway: OtherGateway, folder: Path) -> None:
    settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url)
    for _ in range(2):
        result = await run(folder / "manifest.yaml", out_dir=run_dir(folder), settings=settings)
        assert result.ok
        assert (result.report.credits.spent, result.report.counts.succeeded) == (COST, len(WANTED))
        assert [job.name for job in result.jobs()] == [job.name for job in WANTED]
        assert_books_agree(gateway, assert_all_is_well(gateway, folder))
        assert_uploaded_once(gateway, folder)


@pytest.mark.parametrize(("budget", "ceiling"), [("0.55", None), ("14.59", "2.5")])
def test_a_budget_too_small_stops_the_run_and_a_larger_one_goes_on(
    gateway: OtherGateway, folder: Path, budget: str, ceiling: str | None
) -> None:
    if ceiling is not None:
        capped = MANIFEST.replace("credits: 40", f"credits: 40, max_credits_per_job: {ceiling}")
        (folder / "manifest.yaml").write_text(capped, encoding="utf-8")
    command(gateway, folder, *RUN, "--budget", budget, expect=4)
    report = report_of(folder)
    told, counts = amounts(report), report["counts"]
    # Without a ceiling one job of a price that nobody knows yet may be started with whatever is left.
    unforeseeable = Decimal("2.35") + UPLOAD_PRICE if ceiling is None else 0
    assert gateway.peak() < Decimal(budget) + unforeseeable or gateway.peak() == Decimal(budget)
    assert told["budget"] == Decimal(budget)
    assert_books_agree(gateway, report)
    assert (report["status"], counts["total"]) == ("blocked", len(WANTED))
    assert counts["succeeded"] > 0
    assert counts["blocked"] == counts["total"] - counts["succeeded"] > 0
    blocked = [job for job in report["jobs"] if job["status"] == "blocked"]
    assert len(blocked) == counts["blocked"]
    assert all(job["error"]["message"] and job["error"]["hint"] and not job["outputs"] for job in blocked)

    command(gateway, folder, *RUN, "--budget", "40", expect=0)
    assert_books_agree(gateway, assert_all_is_well(gateway, folder))
    assert_uploaded_once(gateway, folder)
    assert gateway.spent() == COST


def test_an_account_too_small_stops_the_run_and_a_top_up_goes_on(gateway: OtherGateway, folder: Path) -> None:
    gateway.balance = Decimal("3.1")
    command(gateway, folder, *RUN, expect=4)
    report = report_of(folder)
    assert report["status"] == "blocked"
    assert report["counts"]["blocked"] == len(WANTED) - report["counts"]["succeeded"] > 0
    assert_books_agree(gateway, report)
    gateway.balance += 100
    command(gateway, folder, *RUN, expect=0)
    assert_books_agree(gateway, assert_all_is_well(gateway, folder))
    assert_uploaded_once(gateway, folder)


def test_failed_jobs_are_tried_again_under_new_keys_and_refunded(gateway: OtherGateway, folder: Path) -> None:
    small_manifest(
        folder, "20", "{name: good, prompt: a}", "{name: once, prompt: '[flaky]'}", "{name: bad, prompt: '[fails]'}"
    )
    command(gateway, folder, *RUN, expect=1)
    report = report_of(folder, "small")
    assert_contract_kept(gateway)
    assert_books_agree(gateway, report)
    assert (report["status"], report["counts"]["failed"], report["counts"]["succeeded"]) == ("partial", 1, 2)
    assert gateway.total("refund") == 4 * Decimal("0.75") == amounts(report)["refunded"]
    good, once, bad = report["jobs"]
    assert [len(job["attempts"]) for job in (good, once, bad)] == [1, 2, 3]
    attempts = [attempt for job in report["jobs"] for attempt in job["attempts"]]
    assert {(a["job_id"], a["idempotency_key"]) for a in attempts} == {(j.job_id, j.key) for j in gateway.jobs.values()}
    assert [job["status"] for job in report["jobs"]] == ["succeeded", "succeeded", "failed"]
    assert (bad["error"]["code"], bad["credits"]) == ("RENDERER_CRASHED", "0")
    assert bad["error"]["message"]

    requests, rows = len(gateway.requests), len(gateway.ledger)
    command(gateway, folder, *RUN, expect=1)
    assert_costs_nothing(gateway, requests, rows)


def test_a_lost_run_directory_is_built_again_without_buying_anything(gateway: OtherGateway, folder: Path) -> None:
    command(gateway, folder, *RUN, expect=0)
    before = report_of(folder)
    shutil.rmtree(folder / "outputs")
    requests, rows = len(gateway.requests), len(gateway.ledger)
    command(gateway, folder, *RUN, expect=0)
    later = [request for request in gateway.requests[requests:] if request["method"] in WRITING]
    assert {request["path"] for request in later} == {"/api/v1/generate"}
    assert {request["status"] for request in later} == {200}
    assert len(gateway.ledger) == rows
    report = assert_all_is_well(gateway, folder)
    assert report["counts"]["reused"] == len(WANTED)
    assert Decimal(report["credits"]["uploads"]) == 0
    assert Decimal(report["credits"]["jobs"]) == gateway.total("consume")
    assert identities(report) == identities(before)


@pytest.mark.parametrize(("what", "number"), [("asset", 1), ("asset", 3), ("job", 7)])
def test_after_kill_9_between_a_purchase_and_its_answer_nothing_is_bought_twice(
    gateway: OtherGateway, folder: Path, what: str, number: int
) -> None:
    def kill(bought: str, count: int) -> None:
        if (bought, count) == (what, number):
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)

    with gateway.lock:  # no purchase before the process is known
        gateway.before_answer = kill
        process = subprocess.Popen(
            [*COMMAND, *RUN],
            cwd=folder,
            env=environment(gateway, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    assert process.wait(50) == -signal.SIGKILL
    gateway.before_answer = lambda _what, _count: None
    assert len(gateway.assets if what == "asset" else gateway.jobs) >= number

    command(gateway, folder, *RUN, expect=0)
    # A kill hits whatever else is in the air: images paid and not yet sent, intents journalled and not yet sent.
    lost = range(what == "asset", len(PHOTOS) + 1)
    assert_lost_answer_made_good(gateway, folder, lost, never_arrived=len(PHOTOS))


@pytest.mark.parametrize(("what", "number"), [("asset", 1), ("job", 7)])
def test_after_a_connection_cut_between_a_purchase_and_its_answer_nothing_is_bought_twice(
    gateway: OtherGateway, folder: Path, what: str, number: int
) -> None:
    def cut(bought: str, count: int) -> None:
        if (bought, count) == (what, number):
            raise ConnectionAbortedError

    gateway.before_answer = cut
    command(gateway, folder, *RUN, expect=0)
    assert_lost_answer_made_good(gateway, folder, range(1, 2) if what == "asset" else range(1))
    assert report_of(folder)["counts"]["reused"] == 0  # all of it was bought by this run


@pytest.mark.parametrize("arguments", [["plan", "manifest.yaml"], [*RUN, "--dry-run"]])
def test_a_plan_spends_nothing(gateway: OtherGateway, folder: Path, arguments: list[str]) -> None:
    told = json.loads(command(gateway, folder, *arguments, "--json", expect=0).splitlines()[-1])
    assert (told["type"], told["ok"], told["exit_code"]) == ("result", True, 0)
    assert command(gateway, folder, *arguments, "--budget", "1", expect=0)
    assert gateway.seen("api", "GET") == gateway.seen()
    assert_costs_nothing(gateway, 0, 0)
    assert_contract_kept(gateway)


def test_a_price_that_rises_in_the_middle_is_reported_to_the_digit(gateway: OtherGateway, folder: Path) -> None:
    gateway.rises = {"bare": (3, Decimal("3.1"))}
    small_manifest(
        folder, "2.35", "{name: cheap, workflow: Paint.Text, prompt: a}", "{name: dear, prompt: b, repeat: 4}"
    )
    command(gateway, folder, *RUN, "-c", "1", expect=4)
    report = report_of(folder, "small")
    assert_contract_kept(gateway)
    assert_books_agree(gateway, report)
    assert gateway.spent() == Decimal("0.1") + 2 * Decimal("0.75") + Decimal("3.1")
    assert amounts(report)["over_budget"] == Decimal("2.35")
    assert (report["status"], report["counts"]["succeeded"], report["counts"]["blocked"]) == ("blocked", 4, 1)

    command(gateway, folder, *RUN, "-c", "1", "--budget", "7.8", expect=0)
    report = report_of(folder, "small")
    assert_books_agree(gateway, report)
    assert (amounts(report)["over_budget"], gateway.spent()) == (Decimal(0), Decimal("7.8"))
    assert len(gateway.jobs) == 5


def test_a_price_that_rises_with_jobs_in_flight_costs_no_more_than_those(gateway: OtherGateway, folder: Path) -> None:
    gateway.rises = {"bare": (5, Decimal("3.1"))}
    small_manifest(folder, "9", "{name: dear, prompt: b, repeat: 12}")
    command(gateway, folder, *RUN, "-c", "4", expect=4)
    report = report_of(folder, "small")
    assert_contract_kept(gateway)
    assert_books_agree(gateway, report)
    assert gateway.spent() <= 9 + 4 * (Decimal("3.1") - Decimal("0.75"))
    assert 5 <= report["counts"]["succeeded"] <= 8
    assert report["counts"]["blocked"] == 12 - report["counts"]["succeeded"]
