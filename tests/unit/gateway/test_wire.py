"""The wire models: exact where it is money, liberal where it is a hint, and as in the contract."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.gateway import wire
from crucible_batch.gateway.json_text import UnreadableError, read_json
from tests.harness.case_table import each_case


def credits_answer(balance: str, entry: str = "1") -> bytes:
    ledger = (
        '[{"id": "x", "entry_type": "reserve", "status": "done", '
        f'"amount": {entry}, "created_at": ""}}]'
    )
    data = f'{{"balance": {balance}, "reserved": 0, "available": 0, "recent_entries": {ledger}}}'
    return f'{{"success": true, "data": {data}}}'.encode()


def balance(text: str) -> Decimal:
    return wire.read_answer(credits_answer(text), wire.CreditsSuccessResponse).data.balance


def entry_amount(text: str) -> Decimal:
    return (
        wire.read_answer(credits_answer("1", text), wire.CreditsSuccessResponse)
        .data.recent_entries[0]
        .amount
    )


@each_case(
    "text",
    [
        "0.1",
        "12345678901.123456789",
        "0",
        "1",
        "250",
        "0.000000000001",
        "999999999999.999999999999",
        "1.10",
    ],
)
def test_credits_come_through_digit_for_digit(text):
    with localcontext() as context:
        context.prec = 5  # whatever precision the user's own program works with
        assert format(balance(text), "f") == text
        assert format(balance(f'"{text}"'), "f") == text
        assert format(entry_amount(text), "f") == text
        assert format(entry_amount(f"-{text}"), "f").lstrip("-") == text
        assert entry_amount(f"-{text}") <= 0


@given(st.decimals(min_value=0, max_value=10**11, places=9))
def test_any_amount_of_sensible_size_is_exact(amount):
    assert balance(format(amount, "f")) == amount


def test_exponents_are_read_as_what_they_say():
    assert balance("1e3") == 1000
    assert balance("25E-1") == Decimal("2.5")


@each_case("text", ["-1e999999999", "1e12", "-1e-19", '"x"', "null", "true", '"-NaN"'])
def test_a_ledger_amount_that_is_absurd_is_refused(text):
    with pytest.raises(UnreadableError, match="amount"):
        entry_amount(text)


def test_a_binary_float_is_no_amount():
    with pytest.raises(ValueError, match="credits"):
        wire.GenerateData.model_validate({"job_id": "j", "requested_credits": 0.1})


HINTS = [None, 5, [], {}, True, "x"]


@each_case("hint", HINTS)
def test_no_hint_of_an_output_fails_a_job(hint):
    names = set(wire.JobOutput.model_fields) - {"output_index", "job_id"}
    output = wire.JobOutput.model_validate({"output_index": 0, **dict.fromkeys(names, hint)})
    assert isinstance(output.width, int | None)
    assert isinstance(output.url, str | None)
    assert isinstance(output.metadata, dict)


@each_case("hint", HINTS)
def test_no_hint_of_a_job_or_an_asset_fails_it(hint):
    job = wire.JobData.model_validate(
        {
            "job_id": "j",
            "requested_credits": 1,
            "status": hint,
            "error_code": hint,
            "error_message": hint,
        }
    )
    assert job.status == (hint if isinstance(hint, str) else "")
    assert job.outputs == []
    names = set(wire.AssetDescriptor.model_fields) - {"asset_id"}
    assert (
        wire.AssetDescriptor.model_validate(
            {"asset_id": "a", **dict.fromkeys(names, hint)}
        ).asset_id
        == "a"
    )


@each_case("text", ["640", "640.0", "6.4e2"])
def test_whole_numbers_may_be_written_as_fractions(text):
    raw = f'{{"output_index": {text}, "width": {text}}}'.encode()
    output = wire.read_answer(raw, wire.JobOutput)
    assert (output.output_index, output.width) == (640, 640)


@each_case("text", ["640.5", "1e999999999", '"640"', "true"])
def test_a_width_that_is_none_is_none(text):
    assert (
        wire.read_answer(f'{{"output_index": 0, "width": {text}}}'.encode(), wire.JobOutput).width
        is None
    )


def test_nulls_stand_where_the_contract_says_nullable():
    job = {
        "job_id": "j",
        "status": "failed",
        "workflow_id": "w",
        "requested_credits": 1,
        "outputs": None,
    }
    assert (
        wire.JobData.model_validate({**job, "error_code": None, "error_message": None}).outputs
        == []
    )


def test_a_repr_shows_no_signed_url_and_no_unknown_field():
    intent = {
        "asset_id": "a",
        "upload_url": "https://s/u?sig=SECRET",
        "upload_token": "SECRET",
        "credits_charged": 1,
    }
    asset = {"asset_id": "a", "download_url": "https://s/u?sig=SECRET"}
    output = {"output_index": 0, "url": "https://s/u?sig=SECRET", "signed_url": "SECRET"}
    job = {"job_id": "j", "requested_credits": 1, "outputs": [output], "raw": {"url": "SECRET"}}
    for model, data in [
        (wire.AssetCreateData, intent),
        (wire.AssetDescriptor, asset),
        (wire.JobData, job),
    ]:
        made = model.model_validate(data)
        assert "SECRET" not in repr(made)
        assert "SECRET" not in str(made)


def test_what_is_wrong_with_an_answer_is_said_without_its_values():
    with pytest.raises(ValueError, match="upload_url") as caught:
        wire.AssetCreateData.model_validate(
            {"asset_id": "a", "upload_url": ["SECRET"], "credits_charged": 1}
        )
    assert "SECRET" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_unreadable(raw):
    try:
        read_json(raw)
    except UnreadableError as error:
        assert str(error)  # noqa: PT017 - the point is that nothing else is raised


@given(json_values)
def test_any_data_is_a_job_or_unreadable(value):
    raw = json.dumps({"success": True, "data": value}).encode()
    try:
        wire.read_answer(raw, wire.JobSuccessResponse)
    except UnreadableError as error:
        assert str(error)  # noqa: PT017
