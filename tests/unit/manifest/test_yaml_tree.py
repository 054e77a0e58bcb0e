"""YAML text becomes plain values, each with its place, or problems with theirs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.errors import ManifestError, Place, Problem
from crucible_batch.manifest import yaml_reader
from crucible_batch.manifest.source_map import SourceMap
from crucible_batch.manifest.yaml_reader import MAX_DEPTH
from tests.harness.case_table import each_case

FILE = Path("m.yaml")


def value(text: str) -> Any:
    return yaml_reader.parse(text, FILE).root.value


def problems(text: str) -> list[Problem]:
    """The problems of a text that has some, whether it can be read to its end or not."""
    try:
        error = yaml_reader.parse(text, FILE).problems.error()
    except ManifestError as raised:
        error = raised
    assert error.problems
    return list(error.problems)


def places(node: SourceMap) -> list[Any]:
    children = node.children.values() if isinstance(node.children, dict) else node.children
    return [node.span, node.key, *map(places, children)]


def assert_alike(value: Any, node: SourceMap) -> None:
    """Each value has a source map, under the same key or index."""
    if isinstance(value, dict):
        assert isinstance(node.children, dict)
        assert list(value) == list(node.children)
        for key, member in value.items():
            assert_alike(member, node.children[key])
    elif isinstance(value, list):
        assert isinstance(node.children, list)
        for item, child in zip(value, node.children, strict=True):
            assert_alike(item, child)
    else:
        assert node.children == ()


@each_case(
    "text, expected",
    [
        ("a: 1\nb: [x, 2.5, true, null]", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("a: '1'\nb: \"true\"\nc: 'null'", {"a": "1", "b": "true", "c": "null"}),
        ("a: |\n  one\n  two\nb: >-\n  one\n  two", {"a": "one\ntwo\n", "b": "one two"}),
        ("no: 1\non: 2", {"no": 1, "on": 2}),
        ("'1': a\n\"true\": b", {"1": "a", "true": "b"}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("a: &x 5\nb: *x\nc: *x", {"a": 5, "b": 5, "c": 5}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("size.width: 1", {"size.width": 1}),
        ("'<<': 1", {"<<": 1}),
        ("- 1", [1]),
        ("text", "text"),
    ],
)
def test_values(text: str, expected: Any) -> None:
    assert value(text) == expected


@each_case(
    "text, line, column, message",
    [
        ("", 1, 1, "the file is empty"),
        ("# only a comment\n", 2, 1, "the file is empty"),
        ("a: 1\nb: 2\na: 3", 3, 1, "duplicate key 'a'"),
        ("a:\n  b: 1\n  'b': 2", 3, 3, "duplicate key 'b'"),
        ("a: !!str 5", 1, 4, "the YAML tag tag:yaml.org,2002:str is not supported"),
        ("a: !x [1]", 1, 4, "the YAML tag !x is not supported"),
        ("a: ! x", 1, 4, "the YAML tag ! is not supported"),
        ("a: !!python/object/apply:os.system [id]", 1, 4, "is not supported"),
        ("!!str a: 1", 1, 1, "has an anchor or a tag"),
        ("&x a: 1", 1, 1, "has an anchor or a tag"),
        ("a: 1\n---\nb: 2", 2, 1, "a second one begins here"),
        ("a: *x", 1, 4, "the alias *x has no anchor &x before it"),
        ("a: &x [*x]", 1, 8, "the alias *x is within its own anchor"),
        ("base: &b {a: 1}\njob:\n  <<: *b", 3, 3, "the merge key << is not supported"),
        ("1: a", 1, 1, "the key 1 is not text"),
        ("true: a", 1, 1, "the key true is not text"),
        ("~: a", 1, 1, "the key ~ is not text"),
        ("'a': 1\n? \n: b", 2, 2, "the key nothing is not text"),
        (".nan: a", 1, 1, "the key .nan is not text"),
        ("[a, b]: c", 1, 1, "a key must be plain text"),
        ("? {a: b}\n: c", 1, 3, "a key must be plain text"),
        ("a: .nan", 1, 4, ".nan is not a valid number"),
        ("a: " + "9" * 5000, 1, 4, "a number of 5000 characters is too long"),
        ("a: 1e400", 1, 4, "is too large"),
        ("a: b: c", 1, 5, "a colon is not allowed here"),
        ("a: [1, 2", 2, 1, "the list is not closed (it began at line 1, column 4)"),
        ("a: {b: 2", 2, 1, "the mapping is not closed"),
        ("a: [\n", 2, 1, "expected a value"),
        ("a: 'x", 1, 6, "the closing quotation mark is missing"),
        ("a: @prompts/x.txt", 1, 4, "a character that can't begin a value"),
        ("a:\n\t- b", 2, 1, "a character that can't begin a value"),
        ("- a\nb: 1", 2, 1, "expected a list item"),
        ("%YAML 9.9\n---\na: 1", 1, 1, "a YAML version that isn't supported"),
        ('a: "\\ud800"', 1, 7, "an escape that is not a character"),
        ('a: "\\q"', 1, 5, "an unknown escape in quoted text"),
        ("a: !foo!bar x", 1, 4, "an unknown YAML tag"),
        ("a: 1\nb: x\x01y", 2, 5, "the character U+0001 is not allowed"),
        ("a: x\0", 1, 5, "the character U+0000 is not allowed"),
        ("a: \udc80", 1, 4, "the character U+DC80 is not allowed"),
    ],
)
def test_problems_name_line_column_and_reason(
    text: str, line: int, column: int, message: str
) -> None:
    problem = problems(text)[0]
    assert message in problem.message
    assert problem.place == Place(FILE, line, column)


@each_case(
    "text, hint",
    [
        ("a: 1\na: 2", "it is already at line 1, column 1"),
        ("a: @x", "put the text in quotes"),
        ("a:\n\t- b", "indent with spaces"),
        ("<<: {a: 1}", "put shared values into `params`"),
        ("1: a", 'put it in quotes: "1"'),
        ("budget: {credits: 12,5}", "decimals are written with a point, such as 12.5"),
    ],
)
def test_problems_say_what_to_do(text: str, hint: str) -> None:
    assert hint in (problems(text)[0].hint or "")


def test_all_problems_of_form_come_at_once() -> None:
    found = problems("a: .nan\na: 1\nb: !x 1\n<<: 2\n1: 3")
    assert [problem.place.line for problem in found] == [1, 2, 3, 4, 5]


def test_of_two_equal_keys_the_first_counts_and_reading_continues() -> None:
    document = yaml_reader.parse("a: 1\na: {b: [2, 3]}\nc: [4, {d: 5}]\nc: 6\n", FILE)
    assert document.root.value == {"a": 1, "c": [4, {"d": 5}]}
    assert [problem.place.line for problem in document.problems.error().problems] == [2, 4]
    assert document.root.place(("c", 1, "d")) == Place(FILE, 3, 12)


@each_case(
    "text, value, lines",
    [
        ("a: 1\na: &x {b: 2}\nc: *x\nd: [5]", {"a": 1, "c": {"b": 2}, "d": [5]}, [2]),
        ("x: &x [1]\na: 1\na: [*x, *x]\nd: {e: [5]}", {"x": [1], "a": 1, "d": {"e": [5]}}, [3]),
        ("&x a: 1\nb: *x\nd: [5]", {"a": 1, "b": "a", "d": [5]}, [1]),
        ("b: *x\nd: [5]", {"b": None, "d": [5]}, [1]),
        ("b: {{ y: 1 }}\nd: [5]", {"b": {}, "d": [5]}, [1]),
        ("b: {{*no : {{}: 1}}: 2, e: 1}\nd: [5]", {"b": {"e": 1}, "d": [5]}, [1]),
        ("b:\n  <<: {a: &y 1}\n  e: *y\nd: [5]", {"b": {"e": 1}, "d": [5]}, [2]),
        ("b: 1\n---\nc: 2", {"b": 1}, [2]),
    ],
)
def test_what_is_refused_is_left_out_and_said_once(text: str, value: Any, lines: list[int]) -> None:
    document = yaml_reader.parse(text, FILE)
    assert document.root.value == value
    assert [problem.place.line for problem in document.problems.error().problems] == lines
    if "d" in value:
        path: tuple[str | int, ...] = ("d", "e", 0) if isinstance(value["d"], dict) else ("d", 0)
        last = text.splitlines()[-1]
        assert document.root.place(path) == Place(FILE, len(text.splitlines()), last.index("5") + 1)


def test_depth_is_bounded_and_the_bound_is_usable() -> None:
    def nested(depth: int) -> str:
        return "[" * depth + "]" * depth

    assert value(nested(MAX_DEPTH)) is not None
    assert "nested more than 40 deep" in problems(nested(MAX_DEPTH + 1))[0].message


def test_depth_counts_through_aliases() -> None:
    text = "a0: &a0 []\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
    assert "nested more than 40 deep" in problems(text)[0].message


def test_an_alias_bomb_is_refused_and_ordinary_reuse_is_not() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert "the aliases expand to more than 100,000 values" in problems(bomb)[0].message
    assert len(value("a: &a [1, 2, 3]\nb: [" + ",".join(["*a"] * 1000) + "]")["b"]) == 1000


def test_places_of_values_keys_and_what_encloses_them() -> None:
    document = yaml_reader.parse(
        "a: 1\nb:\n  - x\n  - {c: [1, 2], d.e: 5}\nf: &f {g: 7}\nh: *f\n", FILE
    )
    cases: list[tuple[tuple[str | int, ...], bool, tuple[int, int]]] = [
        ((), False, (1, 1)),
        (("a",), False, (1, 4)),
        (("a",), True, (1, 1)),
        (("b",), True, (2, 1)),
        (("b", 0), False, (3, 5)),
        (("b", 1, "c", 1), False, (4, 13)),
        (("b", 1, "d.e"), True, (4, 17)),
        (("b", 1, "missing", "deeper"), False, (4, 5)),
        (("f", "g"), False, (5, 11)),
        (("h",), False, (6, 4)),
        (("h", "g"), False, (5, 11)),
    ]
    for path, key, (line, column) in cases:
        assert document.root.place(path, key=key) == Place(FILE, line, column), path


def test_doubtful_scalars_are_warnings_with_their_place() -> None:
    document = yaml_reader.parse("a: no\nb: [010, 'yes', 12:30]\nno: 1", FILE)
    assert [(warning.place.line, warning.place.column) for warning in document.warnings] == [
        (1, 4),
        (2, 5),
    ]
    assert document.root.value == {"a": "no", "b": [10, "yes", "12:30"], "no": 1}


def test_the_pure_parser_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x [1, 'two', {b: no}]\nc: *x\nd: |\n  text\n"
    fast = yaml_reader.parse(text, FILE)
    monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)
    slow = yaml_reader.parse(text, FILE)
    assert slow.root.value == fast.root.value
    assert places(slow.root.source_map) == places(fast.root.source_map)
    for broken in ("a: [1", "a: 1\na: 2", "a: x\0", "a: @x", "a: 'x", ""):
        assert problems(broken)


# Neither breaks that YAML folds nor characters that it forbids unescaped.
characters = st.characters(
    exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cn"], exclude_characters="\ufeff"
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(characters, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc.-xyz", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_values)
def test_json_is_yaml_and_means_the_same(data: Any) -> None:
    assert value(json.dumps(data, ensure_ascii=False)) == data


@settings(deadline=None)
@given(st.text(max_size=60) | st.text("ab:-[]{}&*!|>'\"%@#,? \n\t0.~<", max_size=60))
def test_no_text_makes_it_raise_anything_else(text: str) -> None:
    with contextlib.suppress(ManifestError):
        root = yaml_reader.parse(text, FILE).root
        assert_alike(root.value, root.source_map)
