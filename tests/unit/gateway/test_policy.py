"""The table of what an answer means, line by line as it stands in ``policy``."""

from __future__ import annotations

from crucible_batch.core.retry_rule import KEY_REUSED
from crucible_batch.gateway.retries import Operation, RetryDecision, decide_retry
from tests.harness.case_table import each_case

READ = ["health", "credits", "workflows", "workflow", "assets", "asset", "job", "download"]
KEYED = ["generate"]
ONCE = ["create_asset"]
AGAIN = ["delete_asset", "upload"]

UNSURE = {"READ": "retry", "KEYED": "retry, doubt", "ONCE": "doubt", "AGAIN": "retry, doubt"}
NOTHING = {"READ": "-", "KEYED": "-", "ONCE": "-", "AGAIN": "-"}

TABLE = [
    ([None], UNSURE),
    ([200, 201, 202, 204, 299], UNSURE),
    (
        [100, 101, 199, 300, 301, 302, 307, 308, 399],
        {**NOTHING, "KEYED": "doubt", "ONCE": "doubt", "AGAIN": "doubt"},
    ),
    ([408, 425, 500, 501, 502, 503, 504, 599, 600], UNSURE),
    ([409], {**NOTHING, "KEYED": "retry, doubt"}),
    ([429], {"READ": "retry", "KEYED": "retry", "ONCE": "retry", "AGAIN": "retry"}),
    ([400, 401, 402, 403, 404, 405, 410, 413, 422, 451, 499], NOTHING),
]
GROUPS = {"READ": READ, "KEYED": KEYED, "ONCE": ONCE, "AGAIN": AGAIN}
ROWS = [
    (Operation(name), status, row[group])
    for statuses, row in TABLE
    for status in statuses
    for group, names in GROUPS.items()
    for name in names
]


def test_every_operation_is_in_the_table():
    assert sorted(READ + KEYED + ONCE + AGAIN) == sorted(Operation)


@each_case("operation, status, expected", ROWS)
def test_an_answer_means_what_the_table_says(operation, status, expected):
    assert decide_retry(operation, status) == RetryDecision(
        retry="retry" in expected, in_doubt="doubt" in expected
    )


@each_case("operation", Operation)
def test_a_key_of_another_request_is_a_definite_refusal_with_any_status(operation):
    for status in (400, 409, 422):
        assert decide_retry(operation, status, KEY_REUSED) == RetryDecision(
            retry=False, in_doubt=False
        )
