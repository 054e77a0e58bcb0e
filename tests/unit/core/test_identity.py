"""Identity: the same content is the same key for ever, other content never is."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.identity import (
    canonical,
    content_of,
    generation_of,
    idempotency_key,
    job_identity,
    of_generation,
)
from tests.harness.case_table import each_case

CONTENT: dict[str, Any] = {
    "manifest": "spring",
    "run_id": "default",
    "workflow_id": "zimage-base",
    "params": {"prompt.text": "a lighthouse", "sampler.seed": 7},
    "images": {"image.image": "0" * 64},
    "repeat": 1,
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

# Kept for ever: keys made by a released version are in journals and at the gateway.
GOLDEN_FORMS = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (-0.0, "0"),
    (1.0, "1"),
    (1.5, "1.5"),
    (1e300, "1e+300"),
    (2**53, "9007199254740992"),
    (float(2**53), "9007199254740992.0"),
    (18446744073709551615, "18446744073709551615"),
    ('é\u2028"\\', '"\\u00e9\\u2028\\"\\\\"'),
    ("\U0001f6a2", '"\\ud83d\\udea2"'),
    ({"b": [1, {}], "a": []}, '{"a":[],"b":[1,{}]}'),
]

GOLDEN_KEYS = [
    (
        {
            "manifest": "m",
            "run_id": "default",
            "workflow_id": "zimage-base",
            "images": {},
            "repeat": 1,
        }
        | {"params": {"prompt.text": "a cat", "sampler.seed": 7}},
        "035aaae4a20f6a84ee16d980b81895a813bfa7123192ff6f6b7b1c0be49fc39c",
        "cb1-b9a6fc5f0544f849754a6bcf0854319355afb4b5134ee8af4eda5ef7e5839e56",
    ),
    (
        {
            "manifest": "m",
            "run_id": "r2",
            "workflow_id": "qwen-edit",
            "images": {"image.image": "0" * 64},
            "repeat": 2,
        }
        | {"params": {"prompt.value": "é", "size.width": 512.0}},
        "9b187d22a40aa44968450bb1f2a2fae68574ac78713a362d9ae938f72ced57f3",
        "cb1-5072f26adb533dc94626c7619c3e634cf4ca23b29991d905166504fd37954879",
    ),
]


@each_case("value, form", GOLDEN_FORMS)
def test_the_canonical_form_is_frozen(value: Any, form: str) -> None:
    assert canonical(value) == form


@pytest.mark.parametrize(("content", "identity", "key"), GOLDEN_KEYS)
def test_keys_are_frozen(content: dict[str, Any], identity: str, key: str) -> None:
    assert job_identity(**content) == identity
    assert idempotency_key(identity, 1) == key


@given(
    st.text(),
    st.text(),
    st.dictionaries(st.text(), JSON, max_size=5),
    st.dictionaries(st.text(), st.text()),
)
def test_an_identity_is_the_digest_of_the_canonical_form_of_all_that_a_job_asks_for(
    text: str, other: str, params: dict[str, Any], images: dict[str, str]
) -> None:
    content: dict[str, Any] = {
        "manifest": text,
        "run_id": other,
        "workflow_id": text + other,
        "params": params,
    }
    content |= {"images": images, "repeat": len(images) + 1}
    assert job_identity(**content) == hashlib.sha256(canonical(content).encode()).hexdigest()


@given(JSON)
def test_the_canonical_form_is_json_of_the_same_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2), st.randoms())
def test_the_order_of_keys_does_not_matter(mapping: dict[str, int], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(mapping)


@given(JSON, JSON)
def test_different_values_have_different_forms(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert not same or canonical(one) == canonical(other)
    if canonical(one) == canonical(other):
        assert one == other


@each_case(
    "one, other", [(1, True), (1, "1"), (0, False), (None, "null"), ([], {}), (2**64, 2**64 - 1)]
)
def test_what_python_takes_for_equal_or_close_is_told_apart(one: Any, other: Any) -> None:
    assert canonical(one) != canonical(other)


def test_text_is_not_normalised() -> None:
    composed = unicodedata.normalize("NFC", "é")
    assert canonical(composed) != canonical(unicodedata.normalize("NFD", "é"))


@each_case(
    "value",
    [float("nan"), float("inf"), -float("inf"), "\ud800", ["\udfff"], {"a": {"b": float("nan")}}],
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    words = (
        "^(JSON cannot represent NaN and infinity|text contains a lone surrogate, "
        "which is not a character)$"
    )
    with pytest.raises(ValueError, match=words):
        canonical(value)


@each_case(
    "value, words",
    [
        ({1: "a"}, "object keys must be text"),
        (object(), "JSON cannot represent object"),
        (b"bytes", "JSON cannot represent bytes"),
        ({"a": {2}}, "JSON cannot represent set"),
    ],
)
def test_what_has_no_form_is_a_type_error(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        canonical(value)


@each_case(
    "change",
    [
        {"manifest": "summer"},
        {"run_id": "tonight"},
        {"workflow_id": "qwen-edit"},
        {"params": {"prompt.text": "a lighthouse", "sampler.seed": 8}},
        {"params": {"prompt.text": "a lighthouse"}},
        {"images": {"image.image": "1" * 64}},
        {"images": {"mask.image": "0" * 64}},
        {"images": {}},
        {"repeat": 2},
    ],
)
def test_each_part_of_the_content_makes_another_job(change: dict[str, Any]) -> None:
    assert job_identity(**CONTENT) != job_identity(**{**CONTENT, **change})


def test_an_image_is_not_a_parameter_of_the_same_text() -> None:
    as_param = {**CONTENT, "params": {**CONTENT["params"], "image.image": "0" * 64}, "images": {}}
    assert job_identity(**CONTENT) != job_identity(**as_param)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_each_attempt_has_a_key_of_its_own_that_the_contract_allows(one: int, other: int) -> None:
    identity = job_identity(**CONTENT)
    keys = idempotency_key(identity, one), idempotency_key(identity, other)
    assert (keys[0] == keys[1]) == (one == other)
    assert all(len(key) == 68 and key.startswith("cb1-") for key in keys)


def test_the_key_of_a_generation_is_frozen() -> None:
    """Generation 0 has the key that it had before there were generations."""
    identity = job_identity(**CONTENT)
    again = of_generation(identity, 2)
    assert (of_generation(identity, 0), again) == (identity, f"{identity}:g2")
    assert idempotency_key("0" * 64, 1) == (
        "cb1-97409b10a04340a76cdb3e1b186eea6cf600a3043732ac9313c20de95ccccc80"
    )
    assert idempotency_key(of_generation("0" * 64, 1), 1) == (
        "cb1-f408d98cc7f5be5bf551d915182843052eafd152c8a89d615d88375300873f2d"
    )


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 100), st.integers(1, 100))
def test_each_attempt_of_each_generation_has_a_key_of_its_own(
    one: int, other: int, attempt: int, another: int
) -> None:
    content = job_identity(**CONTENT)
    first, second = of_generation(content, one), of_generation(content, other)
    assert (generation_of(first), content_of(first)) == (one, content)
    assert of_generation(first, other) == second
    keys = idempotency_key(first, attempt), idempotency_key(second, another)
    assert (keys[0] == keys[1]) == ((one, attempt) == (other, another))
