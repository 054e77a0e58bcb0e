"""When a 404 about something that the gateway has acknowledged is believed."""

from __future__ import annotations

import pytest

from crucible_batch.engine.acknowledged import read_acknowledged
from crucible_batch.errors import GatewayError
from tests.harness.case_table import each_case

NOT_FOUND = GatewayError("not found", code="JOB_NOT_FOUND", status=404)
PAGE = GatewayError("not found", code="HTTP_404", status=404)
BROKEN = GatewayError("broken", code="HTTP_500", status=500)


@each_case(
    "answers, found, waits",
    [
        (["it"], "it", []),
        ([NOT_FOUND, "it"], "it", [0.5]),
        ([NOT_FOUND] * 4 + ["it"], "it", [0.5, 1.5, 4.0, 8.0]),
        ([NOT_FOUND] * 5, NOT_FOUND, [0.5, 1.5, 4.0, 8.0]),
        ([PAGE], PAGE, []),  # this is no answer of the gateway itself
        ([NOT_FOUND, NOT_FOUND, BROKEN], BROKEN, [0.5, 1.5]),
    ],
)
async def test_a_404_is_believed_after_five_in_a_row_over_fourteen_seconds(
    answers: list[str | GatewayError], found: str | GatewayError, waits: list[float]
) -> None:
    left, waited = list(answers), list[float]()

    async def read() -> str:
        answer = left.pop(0)
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def pause(wait_s: float) -> None:
        waited.append(wait_s)

    if isinstance(found, GatewayError):
        with pytest.raises(GatewayError) as raised:
            await read_acknowledged(read, pause)
        assert raised.value is found
    else:
        assert await read_acknowledged(read, pause) == found
    assert (left, waited) == ([], waits)
