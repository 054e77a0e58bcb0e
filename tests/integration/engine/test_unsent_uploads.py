"""What was not sent is released, whatever was raised; a lost upload is settled by the list and the
gateway's ledger.

The judge is the sandbox's ledger.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch import input_images
from tests.harness.object_store import URL

Send = Callable[[], Awaitable[httpx.Response]]
IMAGE_JOB = "{name: a, prompt: one, workflow: qwen-edit, image: a.png}"
OTHERS = "{name: t, prompt: two, repeat: 20}"
HEAD = "budget: {credits: 60, max_credits_per_job: 4, max_credits_per_upload: 8}\n"


class Killed(BaseException):
    """The process is gone: nothing that follows is done."""


def is_intent(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/assets")


def is_list(request: httpx.Request) -> bool:
    return request.method == "GET" and request.url.path.endswith("/assets")


def is_credits(request: httpx.Request) -> bool:
    return request.url.path.endswith("/credits")


async def ended(bench: Any, manifest: Any, **options: Any) -> BaseException | api.RunResult:
    """Run to the end, or to what it raises."""
    try:
        result: api.RunResult = await bench.run(manifest, **options)
    except (Exception, Killed) as error:
        return error
    except BaseExceptionGroup as group:
        return group
    return result


def taken(state: Any) -> Decimal:
    audit = state["audit"]
    credits: Decimal = audit["spent_on_jobs"] + audit["spent_on_uploads"] + audit["reserved"]
    return credits


# -- never sent


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        Killed(),
        pytest.param(RuntimeError("can't start new thread"), marks=pytest.mark.slow),
        pytest.param(ValueError("x"), marks=pytest.mark.slow),
    ],
    ids=["MemoryError", "Killed", "RuntimeError", "ValueError"],
)
async def test_an_upload_that_was_never_sent_holds_nothing_whatever_was_raised(
    start: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Three runs end while the file is read, with no POST /assets at all; the fourth one has the
    whole budget."""

    def failing(*_args: object) -> bytes:
        raise error

    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(f"{IMAGE_JOB}\n{OTHERS}", budget=None, head=HEAD)
        only = ("a",)
        for _ in range(3):
            with monkeypatch.context() as patch:
                patch.setattr(input_images, "checked_content", failing)
                await ended(bench, manifest, only=only)
            state = await bench.state()
            assert state["requests"].get("asset-create", 0) == 0
            assert taken(state) == 0
        result = await bench.run(manifest)
        await bench.agree(result)
    assert result.exit_code == 0
    assert result.report.counts.succeeded == 21
    assert (result.report.credits.held, result.report.credits.uploads) == (0, Decimal("0.5"))


async def test_a_run_that_is_killed_before_it_sends_an_upload_holds_nothing_afterwards(
    start: Any, tampered: Any
) -> None:
    async def killed(request: httpx.Request, send: Send) -> httpx.Response:
        if is_intent(request):
            raise Killed
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(f"{IMAGE_JOB}\n{OTHERS}", budget=None, head=HEAD)
        for _ in range(3):
            await ended(bench, manifest, only=("a",), transport=tampered(killed))
            assert taken(await bench.state()) == 0
        result = await bench.run(manifest)
        await bench.agree(result)
    assert result.exit_code == 0
    assert (result.report.credits.held, result.report.credits.uploads) == (0, Decimal("0.5"))


@pytest.mark.parametrize(
    ("machine", "held"), [pytest.param("one", 0, id="same"), pytest.param("two", 8, id="other")]
)
async def test_what_a_process_of_another_machine_was_about_to_send_stays_held(
    start: Any, store: Any, tampered: Any, monkeypatch: pytest.MonkeyPatch, machine: str, held: int
) -> None:
    """It may only be frozen. Both machines have read the ledger before: the other one as well would
    find that the upload was not charged."""

    async def stopped(request: httpx.Request, send: Send) -> httpx.Response:
        if is_intent(request):
            raise Killed
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(f"{IMAGE_JOB}\n{OTHERS}", budget=None, head=HEAD)

        async def on(name: str, **options: Any) -> Any:
            with monkeypatch.context() as patch:
                patch.setenv("XDG_STATE_HOME", str(bench.path / name))
                return await ended(bench, manifest, out_dir=URL, **options)

        for name, only in (("two", ("t-1",)), ("one", ("t-2",))):
            await on(name, only=only)
        await on("one", only=("a",), transport=tampered(stopped))
        result = await on(machine)
        assert (result.exit_code, result.report.credits.held) == (0, held)


# -- sent, and not answered


async def test_a_lost_upload_that_neither_the_list_nor_the_ledger_shows_was_not_charged(
    start: Any,
) -> None:
    async with start(faults="asset-create.drop-before=1") as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(IMAGE_JOB, budget=None, head=HEAD))
        await bench.agree(result)
    credits = result.report.credits
    assert (result.exit_code, credits.held, credits.uploads) == (0, 0, Decimal("0.5"))


async def test_it_stays_held_until_the_ledger_has_the_charge_of_an_upload_with_an_answer(
    start: Any,
) -> None:
    """Each image is uploaded at most twice in a run."""
    async with start(faults="asset-create.drop-before=2") as bench:
        bench.picture("a.png")
        manifest = bench.manifest(IMAGE_JOB, budget=None, head=HEAD)
        first = await bench.run(manifest)
        await bench.agree(first, never_named=Decimal(16))
        again = await bench.run(manifest, retry_failed=True)
        await bench.agree(again)
    assert (first.exit_code, first.report.credits.held) == (1, 16)
    assert (again.exit_code, again.report.credits.held) == (0, 0)


class Lost:
    """A gateway whose answer to the first upload is lost, after its effect if ``charged``.

    The list of assets doesn't have that upload: never, or for ``lag_s``. ``on_credits`` may change
    what is answered to ``GET /credits``.
    """

    def __init__(
        self,
        clock: Any,
        *,
        charged: bool = True,
        lag_s: float = 1e9,
        on_credits: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda data: data,
    ) -> None:
        self._clock, self._charged, self._lag_s, self._on_credits = (
            clock,
            charged,
            lag_s,
            on_credits,
        )
        self.sent_at: float | None = None
        self._asset: str | None = None

    @property
    def _is_hidden(self) -> bool:
        return self.sent_at is not None and self._clock.now() < self.sent_at + self._lag_s

    async def __call__(self, request: httpx.Request, send: Send) -> httpx.Response:
        if is_intent(request) and self.sent_at is None:
            self.sent_at = self._clock.now()
            if self._charged:
                answer = await send()
                self._asset = json.loads(await answer.aread())["data"]["asset_id"]
            raise httpx.ReadError("lost")
        answer = await send()
        if is_list(request) and self._is_hidden:
            body = json.loads(await answer.aread())
            body["data"]["assets"] = [
                each for each in body["data"]["assets"] if each["asset_id"] != self._asset
            ]
            return httpx.Response(200, json=body)
        if is_credits(request) and self.sent_at is not None:
            body = json.loads(await answer.aread())
            changed = self._on_credits(body["data"])
            if changed is None:
                return httpx.Response(500)
            return httpx.Response(200, json={**body, "data": changed})
        return answer


def no_ledger(_data: dict[str, Any]) -> None:
    return None


def recent_ones(data: dict[str, Any]) -> dict[str, Any]:
    """Only the newest two entries, so that there is a gap since the upload was sent."""
    (name,) = (name for name, value in data.items() if isinstance(value, list))
    newest = sorted(data[name], key=lambda entry: str(entry["created_at"]))[-2:]
    return {**data, name: newest}


def unchanged(data: dict[str, Any]) -> dict[str, Any]:
    return data


@pytest.mark.parametrize(
    ("on_credits", "lag_s"),
    [
        (unchanged, 1e9),  # the ledger shows it, the list never
        (unchanged, 5.0),  # the list shows it late
        (no_ledger, 1e9),  # the ledger can't be read, so that nothing is known of it
        (recent_ones, 1e9),  # it may have passed in a gap of the ledger
    ],
)
async def test_a_lost_upload_that_was_charged_is_never_released(
    start: Any, tampered: Any, on_credits: Any, lag_s: float
) -> None:
    async with start() as bench:
        bench.picture("a.png")
        lost = Lost(bench.clock, lag_s=lag_s, on_credits=on_credits)
        manifest = bench.manifest(f"{IMAGE_JOB}\n{OTHERS}", budget=None, head=HEAD)
        for _ in range(2):
            result = await bench.run(manifest, transport=tampered(lost))
            credits = result.report.credits
            assert lost.sent_at is not None
            assert credits.spent + credits.held >= taken(await bench.state())


async def test_without_a_ledger_that_can_be_read_a_lost_upload_stays_held(
    start: Any, tampered: Any
) -> None:
    """It was not charged, but nothing shows it; once the ledger can be read, the next run settles
    it."""
    async with start() as bench:
        bench.picture("a.png")
        lost = Lost(bench.clock, charged=False, on_credits=no_ledger)
        manifest = bench.manifest(IMAGE_JOB, budget=None, head=HEAD)
        first = await bench.run(manifest, transport=tampered(lost))
        books = first.report.credits
        assert books.spent + books.held - taken(await bench.state()) == 8, (
            "it counts at its maximum"
        )
        again = await bench.run(manifest)
        await bench.agree(again)
    assert (again.report.credits.held, again.report.credits.uploads) == (0, Decimal("0.5"))


async def test_a_gap_in_the_ledger_since_it_was_sent_proves_nothing(
    start: Any, tampered: Any
) -> None:
    async with start() as bench:
        bench.picture("a.png")
        lost = Lost(bench.clock, charged=False, on_credits=recent_ones)
        manifest = bench.manifest(f"{OTHERS}\n{IMAGE_JOB}", budget=None, head=HEAD)
        result = await bench.run(manifest, transport=tampered(lost))
        books = result.report.credits
        assert lost.sent_at is not None
        assert books.spent + books.held - taken(await bench.state()) == 8
