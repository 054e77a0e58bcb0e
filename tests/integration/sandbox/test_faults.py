"""Faults: read from text, drawn from a seed, and each of them seen by a real client."""

from typing import Any

import httpx
import pytest

from crucible_batch.sandbox import parse_faults
from crucible_batch.sandbox.faults import KINDS, Faults, Stage


def test_rules_are_read_from_text() -> None:
    often, twice = parse_faults(" slow:0.25 , generate.500-after=2,")
    assert (often.kind, often.probability, often.first) == ("slow", 0.25, 0)
    assert (twice.kind, twice.first, twice.operations) == ("500-after", 2, {"generate"})
    assert parse_faults("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense:0.1", "unknown fault 'nonsense'; known are 429, "),
        ("nowhere.slow:0.1", "unknown operation 'nowhere'; known are health, "),
        ("slow", "neither"),
        ("slow:", "neither"),
        ("slow:2", "above 1"),
        ("slow:0.1.2", "no number"),
        ("slow=0.5", "no number"),
        ("slow:-1", "neither"),
        ("job.short-body:1", "can't strike 'job'"),
    ],
)
def test_what_is_no_rule_is_a_value_error_that_says_what_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_faults(text)


def test_an_exchange_fault_may_be_sent_where_it_does_not_strike_by_itself() -> None:
    assert parse_faults("download.429:1")[0].operations == {"download"}


def test_a_count_hits_the_first_exchanges_of_its_operations_only() -> None:
    faults = Faults(parse_faults("generate.500-after=2"), 0)
    order = ["job", "generate", "job", "generate", "generate"]
    assert [faults.draw(operation, Stage.EXCHANGE) for operation in order] == [
        None,
        "500-after",
        None,
        "500-after",
        None,
    ]
    assert faults.fired == {("generate", "500-after"): 2}
    assert faults.draw("generate", Stage.JOB) is None


async def test_429_and_503_say_how_long_to_wait(start: Any) -> None:
    async with start(faults=parse_faults("429=1,503-before=1"), retry_after_s=7) as client:
        answers = [await client.generate("zimage-base", "k") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429, 503, 202]
        assert [answer.headers.get("retry-after") for answer in answers] == ["7", "7", None]
        assert answers[0].json()["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(("kind", "jobs"), [("drop-before", 0), ("drop-after", 1)])
async def test_connections_are_cut_before_and_after_the_effect(
    client: Any, kind: str, jobs: int
) -> None:
    await client.configure(faults=f"generate.{kind}=1")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await client.generate("zimage-base", "k")
    state = await client.state()
    assert len(state["jobs"]) == jobs
    assert state["answers"] == [{"operation": "generate", "status": 0, "count": 1}]
    assert (await client.generate("zimage-base", "k")).status_code == (200 if jobs else 202)


async def test_a_slow_answer_is_late_but_right(start: Any) -> None:
    async with start(faults=parse_faults("generate.slow=1"), slow_answer_s=30) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.api.post(
                "/api/v1/generate",
                json={"workflow_id": "zimage-base", "params": {}, "idempotency_key": "k"},
                timeout=httpx.Timeout(60, read=0.3),
            )
        assert (await client.generate("zimage-base", "k")).status_code == 200


async def test_jobs_may_fail_or_be_slow(start: Any) -> None:
    async with start(faults=parse_faults("fail=1"), slow_queue_s=500) as client:
        assert (await client.job("zimage-base", "a"))["error_code"] == "GENERATION_FAILED"
        await client.configure(faults="moderate=1")
        assert (await client.job("zimage-base", "b"))["error_code"] == "MODERATION_REFUSED"
        await client.configure(faults="slow-queue=1")
        assert (await client.job("zimage-base", "c"))["status"] == "running"
        await client.configure(advance_s=501)
        assert (await client.job("zimage-base", "c"))["status"] == "succeeded"


async def test_a_download_url_may_have_expired(client: Any, picture: Any) -> None:
    asset_id = await client.upload(picture())
    await client.configure(faults="job.expired-url=1,asset-get.expired-url=1")
    job = await client.job("zimage-base", "k")
    asset = await client.get(f"/api/v1/assets/{asset_id}")
    for url in (job["outputs"][0]["url"], asset["download_url"]):
        response = await client.storage.get(url)
        assert response.status_code == 403
        assert "expired" in response.text
    job = await client.get(f"/api/v1/jobs/{job['job_id']}")
    assert (await client.storage.get(job["outputs"][0]["url"])).status_code == 200


async def test_a_download_may_be_cut(client: Any) -> None:
    job = await client.job("zimage-base", "k", size__width=128, size__height=128)
    url = job["outputs"][0]["url"]
    whole = await client.storage.get(url)
    await client.configure(faults="short-body=1,short-unsized=1,error-page=1")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.storage.get(url)
    unsized = await client.storage.get(url)
    assert "content-length" not in unsized.headers
    assert unsized.content == whole.content[: len(whole.content) // 2]
    page = await client.storage.get(url)
    assert (page.status_code, page.text[:5]) == (200, "<?xml")
    assert (await client.storage.get(url)).content == whole.content


async def test_every_kind_of_fault_fires_and_the_books_stay_right(start: Any, picture: Any) -> None:
    """Each fault once, met by a client that tries again until it gets through."""

    async def insist(call: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(20):
            try:
                return await call(*args, **kwargs)
            except (httpx.TransportError, AssertionError, ValueError):
                continue
        raise RuntimeError("never got through")

    each = ",".join(f"{kind}=1" for kind in KINDS)
    # Two more jobs fail, for the refunds.
    async with start(faults=parse_faults(f"{each},fail=2"), slow_queue_s=0) as client:
        for number in range(8):
            await insist(client.upload, picture())
            job = await insist(
                client.job, "zimage-base", f"k{number}", size__width=64, size__height=64
            )
            for output in job["outputs"]:
                await insist(client.storage.get, output["url"])
            await insist(client.get, "/api/v1/credits")
        state = await client.state()
        assert {fault["kind"] for fault in state["faults_fired"]} == set(KINDS)
        assert state["audit"]["problems"] == []
        assert len(state["jobs"]) == 8
