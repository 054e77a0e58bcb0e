"""What a workflow's metadata has of a parameter: what is read, what is ignored, and which values
are refused.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.parameter_info import ParameterInfo, read_parameter
from tests.harness.case_table import each_case

D = Decimal


@each_case(
    "details, info",
    [
        (
            {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
            ParameterInfo("integer", D(1), D(50), (), 20),
        ),
        ({"type": "int", "min": D("0.5"), "max": 2}, ParameterInfo("integer", D("0.5"), D(2))),
        ({"type": "FLOAT", "minimum": 0}, ParameterInfo("number", D(0))),
        (
            {"type": "string", "enum": ["a", "b"], "default": "a"},
            ParameterInfo("text", None, None, ("a", "b"), "a"),
        ),
        ({"choices": [1, 2]}, ParameterInfo("", None, None, (1, 2))),
        ({"type": "asset", "default": None}, ParameterInfo("asset")),
        ({}, ParameterInfo()),
    ],
)
def test_facts_are_read_under_their_usual_names(
    details: dict[str, Any], info: ParameterInfo
) -> None:
    assert read_parameter(details) == info


@each_case(
    "details",
    [
        {"minimum": 9, "maximum": 1},
        {"minimum": "1", "maximum": [2]},
        {"minimum": True, "maximum": float("nan")},
        {"minimum": D("Infinity"), "maximum": D("1E+999999")},
        {"minimum": 10**400},
        {"minimum": 5, "maximum": 9, "default": 1},
        {"type": "text", "minimum": 5},
        {"type": "asset", "maximum": 1},
        {"enum": []},
        {"enum": "abc"},
        {"enum": {"a": 1}},
        {"enum": [{"a": 1}, 2]},
        {"enum": [1, None]},
        {"enum": ["a", "b"], "default": "c"},
        {"enum": list(range(1000))},
    ],
)
def test_what_is_contradictory_or_of_another_form_is_ignored(details: dict[str, Any]) -> None:
    info = read_parameter(details)
    assert (info.minimum, info.maximum, info.values) == (None, None, ())
    assert info.fault(-1e9) is None


@each_case(
    "details, value, fault",
    [
        ({"type": "integer", "maximum": 50}, 80, "must be at most 50, got 80"),
        ({"type": "integer", "maximum": 50}, 50, None),
        ({"type": "integer", "minimum": 1}, 0, "must be at least 1, got 0"),
        ({"type": "integer"}, 2.5, "must be an integer, got 2.5"),
        ({"type": "integer"}, 2.0, None),
        ({"type": "integer"}, "80", None),
        ({"type": "integer", "maximum": 50}, "80", None),
        ({"type": "integer"}, True, "must be an integer, got true"),
        ({"type": "integer"}, [1], "must be an integer, got a list"),
        ({"type": "number", "minimum": D("0.1")}, 0.1, None),
        ({"type": "number", "minimum": D("0.1")}, 0.05, "must be at least 0.1, got 0.05"),
        ({"type": "boolean"}, "true", None),
        ({"type": "text"}, 5, None),
        ({"type": "text"}, {"a": 1}, "must be text, got a mapping"),
        ({"type": "strange"}, {"a": 1}, None),
        ({"enum": ["euler", "ddim"]}, "eulr", "must be one of euler, ddim, got eulr"),
        ({"enum": ["euler", "ddim"]}, "ddim", None),
        ({"enum": [1, 2]}, "2", None),
        ({"enum": [1, 2]}, 2.0, None),
        ({"enum": [1, 2]}, True, "must be one of 1, 2, got true"),
        ({"enum": [True]}, 1, "must be one of true, got 1"),
        ({"type": "integer", "maximum": 50}, None, None),
        ({}, "anything", None),
    ],
)
def test_a_value_is_refused_only_where_the_metadata_is_clear(
    details: Any, value: Any, fault: str | None
) -> None:
    assert read_parameter(details).fault(value) == fault


def test_a_seed_of_64_bits_is_within_its_range() -> None:
    info = read_parameter({"type": "integer", "minimum": 0, "maximum": 2**64 - 1})
    assert info.fault(2**64 - 1) is None
    assert info.fault(2**64) is not None


def test_nothing_of_the_metadata_reaches_a_terminal_as_it_is() -> None:
    info = read_parameter(
        {"type": "te\x1b[2Jxt", "enum": ["\x1b]0;x\x07"], "default": "\x1b]0;x\x07"}
    )
    assert "\x1b" not in f"{info.kind}{info.shown_values()}{info.default}{info.fault('y')}"


def test_many_values_are_shown_in_part() -> None:
    text = read_parameter({"enum": list(range(100))}).shown_values()
    assert text.endswith("11, ... (100)")


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
_NAMES = st.sampled_from(["type", "minimum", "maximum", "min", "max", "enum", "choices", "default"])


@given(st.dictionaries(_NAMES, _ANY), _ANY)
def test_no_metadata_makes_it_fail(details: dict[str, Any], value: Any) -> None:
    info = read_parameter(details)
    fault = info.fault(value)
    assert fault is None or len(fault) < 2000
    if info.minimum is not None and info.maximum is not None:
        assert info.minimum <= info.maximum
