"""A part of a run that raises an error at one of its moments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from crucible_batch.runs.parts import RunPart

NOTHING_CREATED = ("around", "check", "planned")
NOTHING_BOUGHT = (*NOTHING_CREATED, "opened", "begin", "beside")
NOT_REPORTED = (*NOTHING_BOUGHT, "judged", "left beside", "ended")
MOMENTS = (*NOT_REPORTED, "reported", "left begin", "left around")
"""All moments, in their order. A block is two of them: when it is entered, and when it is left."""
NOT_IN_EACH_RUN = ("freed",)
"""A moment of runs in which an output needs a path that is taken."""


class FailingPart(RunPart):
    """Raises an error at one moment."""

    def __init__(self, moment: str, error: Exception) -> None:
        self._moment = moment
        self._error = error

    def _fail_at(self, moment: str) -> None:
        if moment == self._moment:
            raise self._error

    @asynccontextmanager
    async def _enclosing(self, moment: str) -> AsyncIterator[None]:
        self._fail_at(moment)
        yield
        self._fail_at(f"left {moment}")

    def around(self, _run: Any) -> Any:
        return self._enclosing("around")

    def check(self, _run: Any) -> None:
        self._fail_at("check")

    def planned(self, _run: Any, _draft: Any) -> None:
        self._fail_at("planned")

    def opened(self, _run: Any) -> None:
        self._fail_at("opened")

    def begin(self, _run: Any) -> Any:
        return self._enclosing("begin")

    def beside(self, _run: Any) -> Any:
        return self._enclosing("beside")

    async def judged(self, _leaving: Any) -> Any:
        self._fail_at("judged")
        return {}

    async def freed(self, _path: str) -> bool:
        self._fail_at("freed")
        return False

    async def ended(self, _ending: Any) -> None:
        self._fail_at("ended")

    async def reported(self, _run: Any) -> None:
        self._fail_at("reported")
