"""An amount that comes from a file is a claim: finite, not negative, of a sane size, or not read at
all.
"""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.credits import StoredCredits, parse_credits
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.saved_plan import PlanTerms
from crucible_batch.errors import JournalError
from crucible_batch.journal.codec import decode
from crucible_batch.journal.event_codec import decode_event, encode_event
from crucible_batch.manifest.field_types import Credits as ManifestCredits
from crucible_batch.outputs import Receipts
from crucible_batch.saved_plan import adapter_of
from tests.harness.case_table import each_case

BAD = [
    "-1", "-500", "-0.01", "NaN", "sNaN", "Infinity", "-Infinity", "1E+999999",
    "1E+99999999999999999999", "1E-999999", "1" + "0" * 18, "9" * 4000, "0." + "0" * 4000 + "1", "",
    "ten", "0x10", None, True, [1], {"a": 1},
]  # fmt: skip

EVENTS = {
    "Held": {"at": 1.0, "attempt": 1, "key": "k", "credits": "2", "price_class": "workflow:w"},
    "Prepared": {"at": 1.0, "assets": {}, "credits": "2"},
    "Accepted": {"at": 1.0, "job_id": "j", "credits": "2", "reused": False},
    "Repriced": {"at": 1.0, "credits": "2"},
    "Intended": {"at": 1.0, "nonce": "n", "credits": "2", "payer": "j"},
    "Created": {"at": 1.0, "asset_id": "a", "credits": "2"},
    "Deleted": {"at": 1.0, "rebate": "2"},
}
TERMS = {
    "manifest_name": "m", "manifest_path": "m.yaml", "manifest_sha256": "0", "run_id": "r",
    "budget": "5", "ceiling": "2", "attempts": 1, "never": [],
}  # fmt: skip


@each_case("amount", ["0", "1E-18", "0.000000000000000001", "9" * 18, "9" * 18 + "." + "9" * 18])
def test_an_amount_that_may_have_been_written_is_read_as_it_is(amount: str) -> None:
    assert TypeAdapter(StoredCredits).validate_json(f'"{amount}"') == Decimal(amount)


@each_case("amount", ["-1E-18", "1E-19", "1" + "0" * 18])
def test_an_amount_just_outside_what_may_have_been_written_is_refused(amount: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(StoredCredits).validate_json(f'"{amount}"')
    assert [error["msg"] for error in refused.value.errors()] == [
        "Value error, not a valid amount of credits"
    ]


@each_case("amount", BAD)
@each_case("kind", EVENTS)
def test_a_journals_event_with_an_impossible_amount_is_damage(kind: str, amount: object) -> None:
    field = "rebate" if kind == "Deleted" else "credits"
    with pytest.raises(JournalError, match=kind):
        decode_event(kind, json.dumps({**EVENTS[kind], field: amount}))


@each_case("amount", ["-1", "NaN", "1E+999999"])
@each_case("field", ["budget", "ceiling"])
def test_a_run_record_with_an_impossible_amount_is_damage(field: str, amount: str) -> None:
    with pytest.raises(JournalError, match="RunTerms"):
        decode(RunTerms, json.dumps({**TERMS, field: amount}))


@each_case("amount", ["-1", "NaN", "1E+999999"])
def test_a_plans_terms_take_no_impossible_amount(amount: str) -> None:
    terms = {"budget": amount, "max_credits_per_job": None, "attempts": 1, "never": []}
    with pytest.raises(ValueError, match="budget"):
        adapter_of(PlanTerms).validate_json(json.dumps(terms))


@given(st.decimals(min_value=0, max_value=Decimal(10) ** 17, places=6))
def test_what_was_written_is_read(amount: Decimal) -> None:
    event = decode_event("Held", json.dumps({**EVENTS["Held"], "credits": str(amount)}))
    assert decode_event(*encode_event(event)) == event
    assert event.credits == amount  # type: ignore[union-attr]


def test_a_negative_zero_is_zero() -> None:
    event = decode_event("Held", json.dumps({**EVENTS["Held"], "credits": "-0.00"}))
    assert str(event.credits) == "0.00"  # type: ignore[union-attr]
    assert str(parse_credits("-0")) == "0"


@each_case("amount", BAD)
def test_a_receipt_with_an_impossible_amount_is_passed_over(tmp_path, amount: object) -> None:
    good = {"identity": "i", "attempt": 1, "key": "k", "job_id": "j", "credits": "2", "at": 1.0}
    lines = [json.dumps({**good, "credits": amount}), json.dumps(good)]
    (tmp_path / "receipts.jsonl").write_text("\n".join(lines) + "\n")
    assert [receipt.credits for receipt in Receipts(tmp_path).read()] == [2]


@given(
    st.decimals(min_value="1e-30", max_value=10**13, allow_nan=False) | st.decimals(0, 1, places=20)
)
def test_what_a_manifest_may_have_can_be_read_again(amount: Decimal) -> None:
    """A ceiling becomes a hold, so a journal with an amount that it refuses would end a run that
    has spent."""
    try:
        taken = TypeAdapter(ManifestCredits).validate_python(str(amount))
    except ValidationError:
        return
    assert TypeAdapter(StoredCredits).validate_json(f'"{taken}"') == amount
