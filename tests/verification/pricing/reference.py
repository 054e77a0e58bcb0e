"""The rule of the cap in its shortest form, as a client: the judge has to pass it, and to catch each of its bugs.

It shares nothing with the program that is tested, and keeps its books in memory: a `kill` forgets what is on the wire.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import aiohttp

from tests.verification.pricing.book import DYING, UPLOADS, Ended, Started, now
from tests.verification.pricing.gateway import KEY, Gateway
from tests.verification.pricing.view import SURGE, Prices

ZERO = Decimal(0)
BUGS = (
    "no bound",  # holds what is expected, as if the price stood still
    "no ceiling",  # knows no declared ceiling
    "no slow start",
    "not alone",  # where no bound fits, it goes beside others
    "expects nothing",  # one without a bound goes whatever it is expected to cost
    "newest price",  # the newest price is what is expected, not the highest
    "doubt is free",  # one whose answer was lost holds nothing
    "answers only",  # never reads the record's figure
    "never stops",  # buys on after a price above the ceiling
)


@dataclass
class Want:
    workflow: str
    shape: str
    body: dict[str, object]
    figure: Decimal | None = None
    hold: Decimal | None = None  # as long as no answer has come
    job_id: str | None = None
    on_wire: bool = False
    trying: bool = False
    lost: bool = False  # an answer to it was
    done: bool = False


@dataclass
class Reference:
    gateway: Gateway
    wants: list[Want]
    budget: Decimal
    per_job: Decimal | None = None
    per_upload: Decimal | None = None
    bug: str = ""
    prices: Prices = field(default_factory=Prices)
    newest: dict[str, Decimal] = field(default_factory=dict)
    calm: int = 0
    stopped: bool = False

    def run(self, kill_after: int | None = None) -> None:
        book = self.gateway.book
        book.note(Started(now(), self.budget, self.per_job, self.per_upload))
        killed = asyncio.run(self._main(kill_after))
        for want in self.wants:
            want.lost |= want.on_wire
            want.on_wire = False
        if killed:
            time.sleep(DYING)
        book.note(Ended(now(), killed))

    async def _main(self, kill_after: int | None) -> bool:
        self.changed = asyncio.Condition()
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(self.gateway.url, headers=headers) as self.http:
            polls = asyncio.create_task(self._poll())
            work = asyncio.create_task(self._work())
            target = None if kill_after is None else self.gateway.book.accepted() + kill_after
            while not work.done():
                await asyncio.sleep(0.005)
                if target is not None and self.gateway.book.accepted() >= target:
                    break
            killed = not work.done()
            for task in (polls, work):
                task.cancel()
            results = await asyncio.gather(polls, work, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result
        return killed

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for want in sorted(self.wants, key=lambda want: want.hold is None):  # those in doubt first
                if want.figure is not None:
                    continue
                async with self.changed:
                    while (hold := self._may(want)) is None:
                        if not any(other.trying for other in self.wants):
                            return
                        await self.changed.wait()
                    want.hold, want.on_wire, want.trying = hold, True, True
                group.create_task(self._submit(want))

    # the rule

    def _expected(self, want: Want) -> Decimal | None:
        if self.bug == "newest price":
            return self.newest.get(want.workflow)
        return self.prices.expected(want.workflow, want.shape)

    def _bound(self, want: Want) -> Decimal | None:
        ceiling = self.per_upload if want.workflow == UPLOADS else self.per_job
        if ceiling is not None and self.bug != "no ceiling":
            return ceiling
        expected = self._expected(want)
        return (1 if self.bug == "no bound" else SURGE) * expected if expected else None

    def _may(self, want: Want) -> Decimal | None:
        """The hold with which this may be sent now, or none: wait."""
        others = [other for other in self.wants if other is not want]
        left = self.budget - sum((self._takes(other) for other in others), ZERO)
        if self.stopped and want.hold is None:
            return None
        waiting = [
            o for o in others if (o.on_wire if want.hold is not None else o.figure is None and o.hold is not None)
        ]
        if want.hold is None and self.bug != "no slow start" and waiting and len(waiting) + 1 > 2 * self.calm:
            return None
        bound = self._bound(want)
        if bound is not None and bound <= left:
            return bound
        expected = self._expected(want) or ZERO
        if (waiting and self.bug != "not alone") or (expected > left and self.bug != "expects nothing"):
            return None
        if self._declared(want) and left < bound:
            return None  # what is declared is never exceeded, so one that costs up to its ceiling doesn't go
        return left

    def _declared(self, want: Want) -> bool:
        ceiling = self.per_upload if want.workflow == UPLOADS else self.per_job
        return ceiling is not None and self.bug not in ("no ceiling", "expects nothing")

    def _takes(self, want: Want) -> Decimal:
        if want.figure is not None:
            return want.figure
        if self.bug == "doubt is free" and not want.on_wire:
            return ZERO
        return want.hold or ZERO

    # the gateway

    async def _submit(self, want: Want) -> None:
        try:
            await self._insist(want)
        finally:
            async with self.changed:
                want.trying = False
                self.changed.notify_all()

    async def _insist(self, want: Want) -> None:
        path = "/api/v1/assets" if want.workflow == UPLOADS else "/api/v1/generate"
        while want.figure is None:
            status, data = await self._ask(path, want.body)
            async with self.changed:
                want.on_wire = False
                if status in (200, 201, 202):
                    self._settle(want, data)
                elif status == 402 or (status and not want.lost):
                    want.hold, want.lost = None, False
                elif not status:
                    want.lost = True
                self.changed.notify_all()
                if want.figure is not None or status == 402:
                    return
            await asyncio.sleep(0.1)
            async with self.changed:
                while (hold := self._may(want)) is None:
                    if not any(other.on_wire for other in self.wants):
                        return
                    await self.changed.wait()
                want.hold, want.on_wire = hold, True

    async def _ask(self, path: str, body: dict[str, object]) -> tuple[int, dict]:
        with contextlib.suppress(aiohttp.ClientError):
            async with self.http.post(path, json=body) as answer:
                return answer.status, (await answer.json()).get("data", {})
        return 0, {}

    def _settle(self, want: Want, data: dict) -> None:
        figure = Decimal(str(data.get("requested_credits", data.get("credits_charged"))))
        expected = self.prices.expected(want.workflow, want.shape)
        self.calm = 0 if expected is not None and figure > expected else self.calm + 1
        want.job_id = data.get("job_id")
        self._see(want, figure, figure)

    def _see(self, want: Want, figure: Decimal, booked: Decimal) -> None:
        self.prices.see(want.workflow, want.shape, figure)
        self.newest[want.workflow] = figure
        ceiling = self.per_upload if want.workflow == UPLOADS else self.per_job
        allowed = SURGE * (want.figure or figure) if ceiling is None else ceiling
        self.stopped |= figure > allowed and self.bug != "never stops"
        want.figure = booked

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for want in [want for want in self.wants if want.job_id and not want.done]:
                async with self.http.get(f"/api/v1/jobs/{want.job_id}") as answer:
                    data = (await answer.json())["data"]
                async with self.changed:
                    want.done = data["status"] in ("succeeded", "failed")
                    figure = Decimal(str(data["requested_credits"]))
                    if self.bug != "answers only":
                        self._see(want, figure, ZERO if data["status"] == "failed" else figure)
                    self.changed.notify_all()


def jobs(count: int, width: Callable[[int], int] = lambda _number: 512) -> list[Want]:
    return jobs_of([("flat", width(number)) for number in range(count)])


def jobs_of(kinds: list[tuple[str, int]]) -> list[Want]:
    """Of each the workflow and the width, which is its shape."""
    made = []
    for number, (workflow, width) in enumerate(kinds):
        params = {"prompt.text": f"a heron, {number}", "size.width": width}
        body = {"workflow_id": workflow, "params": params, "idempotency_key": f"key-{number}"}
        made.append(Want(workflow, f"size.width={width}", body))
    return made


def uploads(count: int) -> list[Want]:
    return [Want(UPLOADS, UPLOADS, {"mime_type": "image/png", "byte_size": 10}) for _ in range(count)]
