"""Events and plans survive the journal, and every row that was ever written can be read."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from crucible_batch.core.events import (
    Accepted,
    AssetEvent,
    BecameReady,
    Consumed,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    HoldReleased,
    Intended,
    JobEvent,
    JobLost,
    Listed,
    Lost,
    Missed,
    NotCharged,
    NotCreated,
    Prepared,
    Refunded,
    RefundForgotten,
    Refused,
    Relocated,
    Reopened,
    Repriced,
    Saved,
    Sent,
    Settled,
    SubmitUnknown,
    Succeeded,
    Unavailable,
    Uploaded,
)
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.errors import JournalError
from crucible_batch.journal import codec
from crucible_batch.journal.codec import decode, encode
from crucible_batch.journal.event_codec import decode_event, encode_event
from tests.harness.case_table import each_case

KINDS: tuple[type[Any], ...] = (*get_args(JobEvent), *get_args(AssetEvent))

ERROR = ErrorInfo("GPU_LOST", "the GPU fell off", "try again", "req_1")
ERROR_TEXT = (
    '{"code":"GPU_LOST","message":"the GPU fell off","hint":"try again","request_id":"req_1"}'
)

# The format of journals that are out there. A row may be added; none may ever be changed or taken
# away.
GOLDEN: list[tuple[str, str, Event]] = [
    (
        "Held",
        (
            '{"at":1700000000.25,"attempt":2,"key":"cb1-ab","credits":"2.50",'
            '"price_class":"workflow:z"}'
        ),
        Held(
            at=1700000000.25,
            attempt=2,
            key="cb1-ab",
            credits=Decimal("2.50"),
            price_class="workflow:z",
        ),
    ),
    (
        "Prepared",
        '{"at":1.0,"assets":{"image.image":"as_1"},"credits":"2"}',
        Prepared(at=1.0, assets={"image.image": "as_1"}, credits=Decimal(2)),
    ),
    (
        "Accepted",
        '{"at":1.0,"job_id":"job_1","credits":"2","reused":true,"earlier":true}',
        Accepted(at=1.0, job_id="job_1", credits=Decimal(2), reused=True, earlier=True),
    ),
    (
        "Accepted",
        '{"at":1.0,"job_id":"job_1","credits":"2","reused":false}',
        Accepted(at=1.0, job_id="job_1", credits=Decimal(2), reused=False),
    ),
    ("HoldReleased", f'{{"at":1.0,"error":{ERROR_TEXT}}}', HoldReleased(at=1.0, error=ERROR)),
    ("Refused", f'{{"at":1.0,"error":{ERROR_TEXT}}}', Refused(at=1.0, error=ERROR)),
    ("SubmitUnknown", f'{{"at":1.0,"error":{ERROR_TEXT}}}', SubmitUnknown(at=1.0, error=ERROR)),
    ("Repriced", '{"at":1.0,"credits":"7","settled":null}', Repriced(at=1.0, credits=Decimal(7))),
    (
        "Repriced",
        (
            '{"at":1.0,"credits":"7","settled":'
            '{"spent":"1","price_class":"workflow:w","shape":"s","reused":true,"differed":true}}'
        ),
        Repriced(
            at=1.0, credits=Decimal(7), settled=Settled(Decimal(1), "workflow:w", "s", True, True)
        ),
    ),
    ("Succeeded", '{"at":1.0,"outputs":3}', Succeeded(at=1.0, outputs=3)),
    (
        "Succeeded",
        '{"at":9.0,"outputs":1,"running_at":4.5}',
        Succeeded(at=9.0, outputs=1, running_at=4.5),
    ),
    (
        "Succeeded",
        '{"at":9.0,"outputs":2,"numbers":[0,3]}',
        Succeeded(at=9.0, outputs=2, numbers=(0, 3)),
    ),
    ("Listed", '{"at":9.0,"numbers":[0,3,1]}', Listed(at=9.0, numbers=(0, 3, 1))),
    ("Failed", f'{{"at":1.0,"error":{ERROR_TEXT}}}', Failed(at=1.0, error=ERROR)),
    (
        "Failed",
        '{"at":1.0,"error":{"code":"X","message":"y"}}',
        Failed(at=1.0, error=ErrorInfo("X", "y")),
    ),
    (
        "Failed",
        f'{{"at":9.0,"error":{ERROR_TEXT},"running_at":4.5}}',
        Failed(at=9.0, error=ERROR, running_at=4.5),
    ),
    (
        "Refunded",
        '{"at":1.0,"attempt":2,"credits":"7.5","entry_id":"e"}',
        Refunded(at=1.0, attempt=2, credits=Decimal("7.5"), entry_id="e"),
    ),
    (
        "Consumed",
        '{"at":1.0,"attempt":2,"credits":"7.5","entry_id":"e"}',
        Consumed(at=1.0, attempt=2, credits=Decimal("7.5"), entry_id="e"),
    ),
    (
        "RefundForgotten",
        '{"at":1.0,"attempt":2,"credits":"7.5","by":"mia@studio"}',
        RefundForgotten(at=1.0, attempt=2, credits=Decimal("7.5"), by="mia@studio"),
    ),
    ("JobLost", f'{{"at":1.0,"error":{ERROR_TEXT}}}', JobLost(at=1.0, error=ERROR)),
    (
        "Saved",
        (
            '{"at":1.0,"index":1,"path":"a/1.png","sha256":"ff","byte_size":9,'
            '"mime_type":"image/png","width":4,"height":3}'
        ),
        Saved(
            at=1.0,
            index=1,
            path="a/1.png",
            sha256="ff",
            byte_size=9,
            mime_type="image/png",
            width=4,
            height=3,
        ),
    ),
    (
        "Saved",
        (
            '{"at":1.0,"index":1,"path":"a","sha256":"ff","byte_size":9,'
            '"mime_type":"m","width":4,"height":3,"sent":null}'
        ),
        Saved(
            at=1.0, index=1, path="a", sha256="ff", byte_size=9, mime_type="m", width=4, height=3
        ),
    ),
    (
        "Saved",
        (
            '{"at":1.0,"index":1,"path":"a","sha256":"f","byte_size":9,'
            '"mime_type":"m","width":4,"height":3,"sent":{"sha256":"e","byte_size":7}}'
        ),
        Saved(
            at=1.0,
            index=1,
            path="a",
            sha256="f",
            byte_size=9,
            mime_type="m",
            width=4,
            height=3,
            sent=Sent("e", 7),
        ),
    ),
    ("Missed", '{"at":1.0,"index":1}', Missed(at=1.0, index=1)),
    ("Relocated", '{"at":1.0,"index":1,"path":"a"}', Relocated(at=1.0, index=1, path="a")),
    ("Unavailable", f'{{"at":1.0,"error":{ERROR_TEXT}}}', Unavailable(at=1.0, error=ERROR)),
    ("Reopened", '{"at":1.0}', Reopened(at=1.0)),
    (
        "Intended",
        '{"at":1.0,"nonce":"n1","credits":"0.5","payer":"ab"}',
        Intended(at=1.0, nonce="n1", credits=Decimal("0.5"), payer="ab"),
    ),
    (
        "Created",
        '{"at":1.0,"asset_id":"as_1","credits":"0.5","assumed":true}',
        Created(at=1.0, asset_id="as_1", credits=Decimal("0.5"), assumed=True),
    ),
    (
        "Created",
        '{"at":1.0,"asset_id":"as_1","credits":"0.5"}',
        Created(at=1.0, asset_id="as_1", credits=Decimal("0.5")),
    ),
    ("Uploaded", '{"at":1.0}', Uploaded(at=1.0)),
    ("BecameReady", '{"at":1.0}', BecameReady(at=1.0)),
    ("Found", '{"at":1.0,"asset_id":"as_1"}', Found(at=1.0, asset_id="as_1")),
    ("NotCreated", f'{{"at":1.0,"error":{ERROR_TEXT}}}', NotCreated(at=1.0, error=ERROR)),
    ("Lost", '{"at":1.0,"nonce":"n1"}', Lost(at=1.0, nonce="n1")),
    ("NotCharged", '{"at":1.0,"nonce":"n1"}', NotCharged(at=1.0, nonce="n1")),
    ("Deleted", '{"at":1.0,"rebate":"0.25"}', Deleted(at=1.0, rebate=Decimal("0.25"))),
]


@each_case("kind, body, event", GOLDEN)
def test_a_row_of_every_release_is_read(kind: str, body: str, event: Event) -> None:
    assert decode_event(kind, body) == event


def test_every_event_has_a_golden_row() -> None:
    assert {kind for kind, _, _ in GOLDEN} == {kind.__name__ for kind in KINDS}


@each_case("event", [event for _, _, event in GOLDEN])
def test_what_is_written_holds_every_field_of_the_golden_row(event: Event) -> None:
    """Defaults are written out: what one release took for granted another may not."""
    kind, body = encode_event(event)
    assert kind == type(event).__name__
    assert set(json.loads(body)) == {field.name for field in fields(event)}


def test_fields_that_a_newer_release_added_are_passed_over() -> None:
    assert decode_event("Reopened", '{"at":1.0,"by":"whom"}') == Reopened(at=1.0)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
CREDITS = st.decimals(
    min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False, places=6
) | st.sampled_from(
    [Decimal(text) for text in ("0", "0.10", "0.000000000001", "1E+2", "999999999999", "2.50")]
)
PARTS: dict[Any, st.SearchStrategy[Any]] = {
    Decimal: CREDITS,
    str: TEXT,
    float: st.floats(min_value=0, max_value=1e11),
    ErrorInfo: st.builds(ErrorInfo, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT),
}

COUNTS = st.integers(1, 2**53 - 1)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


def made(kind: type[Any]) -> st.SearchStrategy[Any]:
    parts = {
        "assets": st.dictionaries(TEXT, TEXT, max_size=3),
        "credits": CREDITS,
        "rebate": CREDITS,
    }
    parts |= {"at": PARTS[float], "error": PARTS[ErrorInfo], "running_at": st.none() | PARTS[float]}
    parts |= dict.fromkeys(("attempt", "outputs", "index", "byte_size", "width", "height"), COUNTS)
    parts |= {"sha256": DIGESTS, "sent": st.none() | st.builds(Sent, DIGESTS, COUNTS)}
    names = {field.name for field in fields(kind)}
    return st.builds(kind, **{name: part for name, part in parts.items() if name in names})


@given(st.one_of([made(kind) for kind in KINDS]))
def test_every_event_survives_exactly(event: Any) -> None:
    back = decode_event(*encode_event(event))
    assert back == event
    assert type(back) is type(event)
    for amount in ("credits", "rebate"):
        # Equality of Decimals looks past the exponent; what is kept are the very digits that the
        # gateway gave.
        assert str(getattr(back, amount, "")) == str(getattr(event, amount, ""))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def shape(value: Any) -> Any:
    """Equality in Python takes 1 for 1.0 and True; what is sent must not."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__, repr(value)


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_parameters_of_a_planned_job_survive_with_their_types(params: dict[str, Any]) -> None:
    job = PlannedJob(0, "ab", "n", "z", params)
    assert shape(dict(decode(PlannedJob, encode(job)).params)) == shape(params)


def test_a_planned_job_survives_whole() -> None:
    spec = AssetSpec("aa", 3, "image/png", "x.png")
    image = InputImage(spec, Path("/photos/x.png"))
    job = PlannedJob(
        7,
        "ab",
        "n",
        "z",
        {"seed": 2**64},
        {"image": image},
        "p",
        {"x": "1"},
        2,
        "n/{index}{ext}",
        {"sku": "a1"},
    )
    assert decode(PlannedJob, encode(job)) == job


def test_a_planned_job_without_the_row_of_its_table_is_read() -> None:
    body = (
        '{"position":0,"identity":"ab","name":"n","workflow_id":"z",'
        '"params":{},"images":{},"prompt":null,"axes":{}}'
    )
    assert decode(PlannedJob, body) == PlannedJob(0, "ab", "n", "z", {})


TERMS_TEXT = (
    '{"manifest_name":"m","manifest_path":"p","manifest_sha256":"s","run_id":"r",'
    '"budget":"0.10","ceiling":null,"attempts":3,"never":["A"]'
)


@each_case(
    "body, plan_digest",
    [
        (TERMS_TEXT + "}", None),
        (TERMS_TEXT + ',"plan_digest":null,"begins_after":0}', None),
        (TERMS_TEXT + ',"plan_digest":"ab","begins_after":7}', "ab"),
    ],
)
def test_terms_of_every_release_are_read(body: str, plan_digest: str | None) -> None:
    terms = RunTerms("m", "p", "s", "r", Decimal("0.10"), None, 3, frozenset({"A"}), plan_digest)
    assert decode(RunTerms, body) == terms


@pytest.mark.parametrize(
    ("body", "provenance"),
    [
        (TERMS_TEXT + "}", (True, False)),
        (TERMS_TEXT + ',"plan_digest":null,"sidecars":false,"embed":true}', (False, True)),
    ],
)
def test_where_provenance_goes_is_known_of_every_release(
    body: str, provenance: tuple[bool, bool]
) -> None:
    terms = decode(RunTerms, body)
    assert (terms.sidecars, terms.embed) == provenance


def test_terms_and_endings_survive() -> None:
    terms = RunTerms("m", "p", "s", "r", Decimal("0.10"), None, 3, frozenset({"A", "B"}))
    assert decode(RunTerms, encode(terms)) == terms
    ending = Ending(RunStatus.BLOCKED, 4, {"*": ERROR})
    assert decode(Ending, encode(ending)) == ending


def test_a_value_that_cant_be_read_is_named_with_what_is_wrong_and_what_helps() -> None:
    with pytest.raises(JournalError) as caught:
        decode_event("Succeeded", '{"at":1.0}')
    what = "the journal contains an invalid Succeeded event"
    assert caught.value.args[0] == f"{what}: Object missing required field `outputs`"
    assert caught.value.hint == (
        "restore the run directory from a backup, "
        "or use another --run-id (which buys its jobs again)"
    )
    with pytest.raises(JournalError, match="Ending: Field required"):
        decode(Ending, '{"status":"failed"}')
    with pytest.raises(JournalError, match="Succeeded"):
        decode_event("Succeeded", 7)


LAST_MOMENT = 253_402_300_799.0
MOST = 2**53 - 1


@each_case(
    "event",
    [
        Held(at=-62_135_596_800.0, attempt=0, key="k", credits=Decimal(0), price_class="c"),
        Held(at=LAST_MOMENT, attempt=MOST, key="k", credits=Decimal(0), price_class="c"),
        Succeeded(at=1.0, outputs=0, running_at=LAST_MOMENT),
        Saved(at=1.0, index=0, path="a", sha256="0", byte_size=0, mime_type="m", width=0, height=0),
        Relocated(at=1.0, index=MOST, path="a"),
    ],
)
def test_the_first_and_the_last_value_of_each_range_are_read(event: Event) -> None:
    assert decode_event(*encode_event(event)) == event


@each_case(
    "event",
    [
        Held(at=1.0, attempt=MOST + 1, key="k", credits=Decimal(0), price_class="c"),
        Failed(at=1.0, error=ERROR, running_at=LAST_MOMENT + 1),
        Refunded(at=1.0, attempt=-1, credits=Decimal(1), entry_id="e"),
        Consumed(at=1.0, attempt=MOST + 1, credits=Decimal(1), entry_id="e"),
        RefundForgotten(at=1.0, attempt=-1, credits=Decimal(1), by="mia@studio"),
        Saved(
            at=1.0,
            index=0,
            path="a",
            sha256="0",
            byte_size=0,
            mime_type="m",
            width=0,
            height=0,
            sent=Sent("/", 1),
        ),
        Saved(
            at=1.0, index=0, path="a", sha256="0", byte_size=0, mime_type="m", width=-1, height=0
        ),
        Relocated(at=1.0, index=-1, path="a"),
    ],
)
def test_a_value_outside_its_range_is_an_error_that_names_the_event(event: Event) -> None:
    with pytest.raises(JournalError) as caught:
        decode_event(*encode_event(event))
    place = f"the journal contains an invalid {type(event).__name__} event: "
    assert caught.value.message.startswith(place)


@each_case("amount", ["-1", "NaN", "1E+18"])
def test_what_was_spent_for_a_job_is_an_amount(amount: str) -> None:
    settled = f'{{"spent":"{amount}","price_class":"c","shape":"s"}}'
    with pytest.raises(JournalError, match="Repriced"):
        decode_event("Repriced", f'{{"at":1.0,"credits":"7","settled":{settled}}}')


def test_an_event_of_a_newer_release_is_named_with_what_helps() -> None:
    with pytest.raises(JournalError) as caught:
        decode_event("Teleported", '{"at":1.0}')
    assert caught.value.message == "the journal contains an event of an unknown type: 'Teleported'"
    assert caught.value.hint == "use the release of crucible-batch that wrote it, or a newer one"
    with pytest.raises(JournalError, match=r"an invalid event type$"):
        decode_event(7, '{"at":1.0}')


def test_a_time_in_a_column_is_a_number_within_the_years_of_a_date() -> None:
    times = [codec.moment(value, "start of a run") for value in (-62_135_596_800, 7, LAST_MOMENT)]
    assert times == [-62_135_596_800.0, 7.0, LAST_MOMENT]
    assert {type(time) for time in times} == {float}
    for value in (-62_135_596_801, LAST_MOMENT + 1, float("nan"), "7", None):
        with pytest.raises(JournalError, match=r"an invalid start of a run$"):
            codec.moment(value, "start of a run")


HELD = '{"at":%s,"attempt":%s,"key":"k","credits":%s,"price_class":"c"}'
REPRICED = '{"at":1,"credits":"%s","settled":{"spent":"%s","price_class":"c","shape":""}}'
SAVED = (
    '{"at":1,"index":%s,"path":"a","sha256":%s,"byte_size":%s,"mime_type":"m","width":4,"height":3}'
)


@each_case(
    "kind, body",
    [
        *(
            ("Held", HELD % (at, 1, '"1"'))
            for at in ("NaN", "Infinity", "-1e12", "1e300", "253402300800", "null")
        ),
        *(("Held", HELD % (1, attempt, '"1"')) for attempt in ("-1", "1e300", "1" + "0" * 400)),
        *(
            ("Held", HELD % (1, 1, f'"{credits}"'))
            for credits in ("-1", "NaN", "Infinity", "1E+18", "1E+999999", "")
        ),
        *(("Repriced", REPRICED % credits) for credits in (("-1", "1"), ("1", "-1"), ("1", "NaN"))),
        *(("Deleted", f'{{"at":1,"rebate":"{rebate}"}}') for rebate in ("-1", "1E+999999")),
        *(("Succeeded", f'{{"at":1,"outputs":{outputs}}}') for outputs in ("-1", "1" + "0" * 400)),
        ("Succeeded", '{"at":1,"outputs":1,"running_at":NaN}'),
        *(
            ("Saved", SAVED % each)
            for each in (("-1", '"ff"', "1"), ("0", '"../x"', "1"), ("0", '"ff"', "-1"))
        ),
        ("Missed", '{"at":1,"index":-1}'),
        *(("Uploaded", body) for body in (None, 7, 1.5, b'{"at":1}')),
        *((kind, '{"at":1}') for kind in (None, 7, b"Uploaded")),
    ],
)
def test_a_value_that_none_of_ours_can_have_can_not_be_read(kind: object, body: object) -> None:
    with pytest.raises(JournalError, match="contains an invalid"):
        decode_event(kind, body)
