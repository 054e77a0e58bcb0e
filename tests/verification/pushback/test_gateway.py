"""The gateway does what its options say, and counts it right."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.verification.pushback.capacity import TokenBucket
from tests.verification.pushback.gateway import Gateway
from tests.verification.pushback.measure import ideal_seconds, jobs_within, with_references
from tests.verification.pushback.options import parse
from tests.verification.pushback.scenes import FREE, SCENES
from tests.verification.pushback.stats import weighted_mean

NEVER = "--service=3600"
Answer = tuple[int, dict[str, Any], dict[str, str]]


class Caller:
    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self.gateway, self.session = gateway, session

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        async with self.session.request(method, f"/api/v1/{path}", json=body) as response:
            return response.status, json.loads(await response.text()), dict(response.headers)

    async def submit(self, prompt: str, key: str | None = None) -> Answer:
        body: dict[str, Any] = {"workflow_id": "draw-1", "params": {"prompt.text": prompt}}
        return await self.call("POST", "generate", body if key is None else {**body, "idempotency_key": key})

    def stats(self) -> dict[str, Any]:
        return self.gateway.stats.as_json()


@contextlib.asynccontextmanager
async def serving(*options: str) -> AsyncIterator[Caller]:
    gateway = Gateway(parse(list(options)))
    headers = {"Authorization": "Bearer moltazine_test"}
    async with gateway.serve(0) as url, aiohttp.ClientSession(url, headers=headers) as session:
        yield Caller(gateway, session)


async def finished(caller: Caller, job_id: str) -> dict[str, Any]:
    while True:
        _, body, _ = await caller.call("GET", f"jobs/{job_id}")
        if body["data"]["status"] == "succeeded":
            return dict(body["data"])


async def test_a_key_gives_the_earlier_job_and_is_charged_once() -> None:
    async with serving("--service=0") as caller:
        status, first, _ = await caller.submit("a", "key")
        await finished(caller, first["data"]["job_id"])
        again, second, _ = await caller.submit("a", "key")
        assert (status, again) == (202, 200)
        assert second["data"]["job_id"] == first["data"]["job_id"]
        assert caller.stats()["charged"] == 1


async def test_one_picture_under_two_keys_is_counted_as_charged_twice() -> None:
    async with serving("--service=0") as caller:
        for key in ("one", "two"):
            _, body, _ = await caller.submit("a", key)
            await finished(caller, body["data"]["job_id"])
        assert caller.stats()["jobs_charged_twice"] == 1
        assert caller.stats()["keys_charged_twice"] == 0


async def test_the_books_follow_a_job() -> None:
    async with serving("--service=0", "--credits=3", "--price=2") as caller:
        _, body, _ = await caller.submit("a", "key")
        await finished(caller, body["data"]["job_id"])
        status, refused, _ = await caller.submit("b", "other")
        assert (status, refused["code"]) == (402, "INSUFFICIENT_CREDITS")
        _, books, _ = await caller.call("GET", "credits")
        assert [entry["entry_type"] for entry in books["data"]["recent_entries"]] == ["consume", "reserve"]
        assert (books["data"]["balance"], books["data"]["reserved"], books["data"]["available"]) == (1, 0, 1)


async def test_the_cap_refuses_a_submit_until_a_job_ends_but_never_a_known_key() -> None:
    async with serving(NEVER, "--max-in-flight=2", "--retry-after=7") as caller:
        accepted = [(await caller.submit(prompt, prompt))[1]["data"]["job_id"] for prompt in "ab"]
        status, body, headers = await caller.submit("c", "c")
        assert (status, body["success"], headers["Retry-After"]) == (429, False, "7")
        assert (await caller.submit("a", "a"))[0] == 200
        caller.gateway.finish(caller.gateway.jobs[accepted[0]])
        assert (await caller.submit("c", "c"))[0] == 202
        assert caller.stats()["submits"] == {"accepted": 3, "replayed": 1, "refused": {"cap": 1}}
        assert caller.stats()["most_in_flight"] == 2


async def test_a_changed_cap_holds_from_then_on() -> None:
    async with serving(NEVER, "--max-in-flight=1") as caller:
        await caller.submit("a", "a")
        caller.gateway.change_cap(2)
        assert (await caller.submit("b", "b"))[0] == 202
        assert (await caller.submit("c", "c"))[0] == 429


def test_the_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.11), bucket.take(0.11)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(("which", "expected"), [("all", 429), ("submits", 200)])
async def test_the_limit_counts_the_requests_that_it_is_told_to(which: str, expected: int) -> None:
    async with serving(NEVER, "--max-rps=0.001", "--burst=1", f"--rps-on={which}") as caller:
        assert (await caller.submit("a"))[0] == 202
        assert (await caller.call("GET", "workflows"))[0] == expected
        assert (await caller.submit("b"))[0] == 429


async def test_stray_answers_have_their_share_and_come_again_with_the_seed() -> None:
    async def statuses() -> list[int]:
        async with serving("--stray-429=0.2", "--stray-500=0.1", "--seed=5") as caller:
            return [(await caller.call("GET", "workflows"))[0] for _ in range(200)]

    first = await statuses()
    assert first == await statuses()
    assert 25 <= first.count(429) <= 55
    assert 8 <= first.count(500) <= 32


async def test_a_cut_request_took_effect() -> None:
    async with serving(NEVER, "--cut=1") as caller:
        with pytest.raises(aiohttp.ClientError):
            await caller.submit("a", "key")
        assert caller.stats()["submits"]["accepted"] == 1


async def test_an_outage_begins_with_the_first_submit() -> None:
    async with serving(NEVER, "--outage=0:3600") as caller:
        assert (await caller.call("GET", "workflows"))[0] == 200
        assert (await caller.submit("a", "key"))[0] == 503
        assert (await caller.call("GET", "workflows"))[0] == 503


async def test_an_upload_is_ready_when_its_bytes_are_there_and_an_output_can_be_fetched() -> None:
    async with serving("--service=0") as caller:
        _, body, _ = await caller.call("POST", "assets", {"mime_type": "image/png", "byte_size": 4})
        asset = body["data"]
        async with aiohttp.ClientSession() as storage:
            await storage.put(asset["upload_url"], data=b"1234", headers={"Content-Type": "image/png"})
            _, shown, _ = await caller.call("GET", f"assets/{asset['asset_id']}")
            assert shown["data"]["status"] == "ready"
            params = {"prompt.text": "a", "image.image": asset["asset_id"]}
            status, job, _ = await caller.call("POST", "generate", {"workflow_id": "draw-1", "params": params})
            assert status == 202
            output = (await finished(caller, job["data"]["job_id"]))["outputs"][0]
            async with storage.get(output["url"]) as response:
                assert (await response.read()).startswith(b"\x89PNG")
        _, deleted, _ = await caller.call("DELETE", f"assets/{asset['asset_id']}")
        assert deleted["data"]["credit_rebate"] == asset["credits_charged"]
        assert (caller.stats()["downloaded"], caller.stats()["keys_at_storage"]) == (1, 0)


def test_a_mean_is_weighted_by_time() -> None:
    assert weighted_mean([(0, 10), (1, 20), (3, 0)], 0.5, 4.5) == pytest.approx((0.5 * 10 + 2 * 20) / 4)


def test_the_ideal_follows_the_steps_of_the_limit() -> None:
    steps = ((0.0, 64.0), (10.0, 8.0), (20.0, 64.0))
    assert ideal_seconds(640 + 80 + 64, steps, 1000) == pytest.approx(21)
    assert ideal_seconds(300, FREE, 100) == pytest.approx(3)
    assert ideal_seconds(300, ((0.0, 1e9), (1.0, 0.0), (11.0, 1e9)), 100) == pytest.approx(13)
    assert jobs_within(15, 3000, steps) == 680
    assert jobs_within(15, 3000, FREE) == 3000


def test_a_scene_without_a_limit_stands_between_two_clean_runs() -> None:
    chosen = [scene for scene in SCENES if scene.name in ("429-1%", "429-4%", "mix", "429-1%-c128", "cap-20")]
    order = [scene.name for scene in with_references(chosen)]
    assert order == [
        *("clean", "429-1%", "429-4%", "clean", "mix", "clean"),
        *("clean-c128", "429-1%-c128", "clean-c128", "cap-20"),
    ]
