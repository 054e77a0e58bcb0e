"""The product as a user has it, against a gateway that we did not write: every clause of the
acceptance criterion.
"""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from judging import (
    COST,
    MANIFEST,
    PHOTOS,
    RUN,
    WANTED,
    WRITING,
    amounts,
    assert_all_is_well,
    assert_books_agree,
    assert_contract_kept,
    assert_costs_nothing,
    assert_lost_answer_made_good,
    assert_uploaded_once,
    command,
    identities,
    report_of,
    run_killed_at,
    small_manifest,
)
from other_gateway import OtherGateway
from other_world import UPLOAD_PRICE


def test_a_manifest_of_every_kind_of_job_runs_true_and_its_second_run_is_free(
    gateway: OtherGateway, folder: Path
) -> None:
    lines = [
        json.loads(line)
        for line in command(
            gateway, folder, *RUN, "--json", expect=0, is_installed=True
        ).splitlines()
    ]
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


@pytest.mark.parametrize(("budget", "ceiling"), [("0.55", None), ("14.59", "2.5")])
def test_a_budget_too_small_stops_the_run_and_a_larger_one_continues(
    gateway: OtherGateway, folder: Path, budget: str, ceiling: str | None
) -> None:
    if ceiling is not None:
        capped = MANIFEST.replace("credits: 40", f"credits: 40, max_credits_per_job: {ceiling}")
        (folder / "manifest.yaml").write_text(capped, encoding="utf-8")
    command(gateway, folder, *RUN, "--budget", budget, expect=4)
    report = report_of(folder)
    told, counts = amounts(report), report["counts"]
    # Without a ceiling one job of a price that nobody knows yet may be started with whatever is
    # left.
    unforeseeable = Decimal("2.35") + UPLOAD_PRICE if ceiling is None else 0
    assert gateway.peak() < Decimal(budget) + unforeseeable or gateway.peak() == Decimal(budget)
    assert told["budget"] == Decimal(budget)
    assert_books_agree(gateway, report)
    assert (report["status"], counts["total"]) == ("blocked", len(WANTED))
    assert counts["succeeded"] > 0
    assert counts["blocked"] == counts["total"] - counts["succeeded"] > 0
    blocked = [job for job in report["jobs"] if job["status"] == "blocked"]
    assert len(blocked) == counts["blocked"]
    assert all(
        job["error"]["message"] and job["error"]["hint"] and not job["outputs"] for job in blocked
    )

    command(gateway, folder, *RUN, "--budget", "40", expect=0)
    assert_books_agree(gateway, assert_all_is_well(gateway, folder))
    assert_uploaded_once(gateway, folder)
    assert gateway.spent() == COST


def test_failed_jobs_are_tried_again_under_new_keys_and_refunded(
    gateway: OtherGateway, folder: Path
) -> None:
    small_manifest(
        folder,
        "20",
        "{name: good, prompt: a}",
        "{name: once, prompt: '[flaky]'}",
        "{name: bad, prompt: '[fails]'}",
    )
    command(gateway, folder, *RUN, expect=1)
    report = report_of(folder, "small")
    assert_contract_kept(gateway)
    assert_books_agree(gateway, report)
    assert (report["status"], report["counts"]["failed"], report["counts"]["succeeded"]) == (
        "partial",
        1,
        2,
    )
    assert gateway.total("refund") == 4 * Decimal("0.75") == amounts(report)["refunded"]
    good, once, bad = report["jobs"]
    assert [len(job["attempts"]) for job in (good, once, bad)] == [1, 2, 3]
    attempts = [attempt for job in report["jobs"] for attempt in job["attempts"]]
    assert {(a["job_id"], a["idempotency_key"]) for a in attempts} == {
        (j.job_id, j.key) for j in gateway.jobs.values()
    }
    assert [job["status"] for job in report["jobs"]] == ["succeeded", "succeeded", "failed"]
    assert (bad["error"]["code"], bad["credits"]) == ("RENDERER_CRASHED", "0")
    assert bad["error"]["message"]

    requests, rows = len(gateway.requests), len(gateway.ledger)
    command(gateway, folder, *RUN, expect=1)
    assert_costs_nothing(gateway, requests, rows)


def test_a_lost_run_directory_is_built_again_without_buying_anything(
    gateway: OtherGateway, folder: Path
) -> None:
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


@pytest.mark.parametrize(
    ("what", "number"), [("asset", 1), pytest.param("asset", 3, marks=pytest.mark.slow), ("job", 7)]
)
def test_after_kill_9_between_a_purchase_and_its_answer_nothing_is_bought_twice(
    gateway: OtherGateway, folder: Path, what: str, number: int
) -> None:
    run_killed_at(gateway, folder, what, number)
    command(gateway, folder, *RUN, expect=0)
    # A kill hits whatever else is in the air: images paid and not yet sent, intents journalled and
    # not yet sent.
    lost = range(what == "asset", len(PHOTOS) + 1)
    assert_lost_answer_made_good(gateway, folder, lost, never_arrived=len(PHOTOS))


@pytest.mark.parametrize("arguments", [["plan", "manifest.yaml"], [*RUN, "--dry-run"]])
def test_a_plan_spends_nothing(gateway: OtherGateway, folder: Path, arguments: list[str]) -> None:
    told = json.loads(command(gateway, folder, *arguments, "--json", expect=0).splitlines()[-1])
    assert (told["type"], told["ok"], told["exit_code"]) == ("result", True, 0)
    assert command(gateway, folder, *arguments, "--budget", "1", expect=0)
    assert gateway.seen("api", "GET") == gateway.seen()
    assert_costs_nothing(gateway, 0, 0)
    assert_contract_kept(gateway)


def test_a_price_that_rises_in_the_middle_is_reported_to_the_digit(
    gateway: OtherGateway, folder: Path
) -> None:
    gateway.rises = {"bare": (3, Decimal("3.1"))}
    small_manifest(
        folder,
        "2.35",
        "{name: cheap, workflow: Paint.Text, prompt: a}",
        "{name: dear, prompt: b, repeat: 4}",
    )
    command(gateway, folder, *RUN, "-c", "1", expect=4)
    report = report_of(folder, "small")
    assert_contract_kept(gateway)
    assert_books_agree(gateway, report)
    assert gateway.spent() == Decimal("0.1") + 2 * Decimal("0.75") + Decimal("3.1")
    assert amounts(report)["over_budget"] == Decimal("2.35")
    assert (report["status"], report["counts"]["succeeded"], report["counts"]["blocked"]) == (
        "blocked",
        4,
        1,
    )

    command(gateway, folder, *RUN, "-c", "1", "--budget", "7.8", expect=0)
    report = report_of(folder, "small")
    assert_books_agree(gateway, report)
    assert (amounts(report)["over_budget"], gateway.spent()) == (Decimal(0), Decimal("7.8"))
    assert len(gateway.jobs) == 5
