"""A template that is cut into its expressions says what it says as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crucible_batch.manifest import templates
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.templates import Templates, split_expressions
from tests.harness.case_table import each_case

VARIABLES: dict[str, Any] = {
    "brand": "Acme", "n": 3, "f": 0.5, "on": True, "nothing": None, "words": ["b", "a"],
    "deep": {"x": {"y": 1}}, "row": {"sku": "a1", "items": "three", "n": "007", "empty": ""},
    "repeat": 2,
}  # fmt: skip
PIECES = [
    "text", " ", "\n", "}", "}}", "%}", "#}", "{", "é", "'", "{{ brand }}", "{{brand}}", "{{ n }}",
    "{{ f }}", "{{ on }}", "{{ '}}' }}", "{{ 'it' }}", "{{ 'a', }}", '{{ "it\'s" }}',
    """{{ "'" ~ '}}' }}""", "{{ '\\'' ~ '}}' }}", "{{ nothing }}", "{{ words }}",
    "{{ words | join }}", "{{ words | length }}", "{{ gone }}", "{{ row }}", "{{ row.sku }}",
    "{{ row.items }}", "{{ row.keys }}", "{{ row.gone }}", "{{ row.n | int }}",
    "{{ row.sku | int }}", "{{ row.empty | default }}", "{{ gone | default('d') }}",
    "{{ gone | upper }}", "{{ brand | upper }}", "{{ brand | nofilter }}", "{{ brand | map }}",
    "{{ deep.x }}", "{{ deep.x.y }}", "{{ brand.upper }}", "{{ brand.upper() }}", "{{ range }}",
    "{{ range(2) | list }}", "{{ true }}", "{{ none }}", "{{ self }}", "{{ not n }}",
    "{{ n + 1 }}", "{{ 'a' ~ n }}", "{{ a b }}", "{{ }}", "{{ {'a': 1}.a }}", "{{- n }}",
    "{{ n -}}", "{{ -n }}", "{{ 'x\n' }}", "{% if n %}y{% endif %}", "{# c #}", "\r\n",
    "{{ loop }}", "{{ for }}", "{{ and }}", "{{ _x }}",
]  # fmt: skip


def said(source: str, *, native: bool) -> tuple[object, ...]:
    """Return what a template comes to: its value, or all that is said of why it has none."""
    try:
        template = Templates().compile(source)
        value = template.value(VARIABLES) if native else template.text(VARIABLES)
    except TemplateFault as fault:
        return fault.message, fault.nearest, fault.hint, fault.line, fault.is_unknown_name
    return type(value), value, template.names


def is_fault(result: tuple[object, ...]) -> bool:
    return len(result) == 5


def said_as_a_whole(source: str, *, native: bool) -> tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "split_expressions", lambda _source: None)
        return said(source, native=native)


@settings(deadline=None, max_examples=300)
@example(["{{ brand | nofilter }}", "{{ a b }}"], False)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.booleans())
def test_pieces_say_what_the_whole_does(pieces: list[str], native: bool) -> None:
    source = "".join(pieces)
    in_pieces, whole = said(source, native=native), said_as_a_whole(source, native=native)
    if sum(is_fault(said(piece, native=False)) for piece in pieces) > 1:
        # Of several faults, the first is reported in pieces, and that of the grammar as a whole.
        assert is_fault(in_pieces) == is_fault(whole)
    else:
        assert in_pieces == whole


@each_case("piece", PIECES)
def test_each_piece_alone_says_what_the_whole_does(piece: str) -> None:
    whole: Any = test_pieces_say_what_the_whole_does
    compare = whole.hypothesis.inner_test
    compare([piece], True)
    compare(["a\n", piece], False)


@each_case(
    "source, pieces",
    [
        ("", [""]),
        ("a {{ b }}", ["a ", " b ", ""]),
        ("{{ a }}{{b|c}}d", ["", " a ", "", "b|c", "d"]),
        ("}} {{ a }} }}", ["}} ", " a ", " }}"]),
    ],
)
def test_where_a_text_is_cut(source: str, pieces: list[str]) -> None:
    assert split_expressions(source) == pieces


@each_case(
    "source",
    [
        "{{{ a }}",
        "{{ a }}{{{ b }}",
        "{{% a %}{{ b }}",
        "{{ '}}' }}",
        "{{- a }}",
        "{{ a -}}",
        "{{+ a }}",
        "{{ a",
        "{{}}",
        "{{ }}",
        "{%",
        "{#",
        "\r{{ a }}",
    ],
)
def test_what_has_more_to_it_is_left_whole(source: str) -> None:
    assert split_expressions(source) is None


def test_each_expression_of_texts_that_differ_in_their_words_is_compiled_once(
    compiled: list[object],
) -> None:
    made = Templates()
    texts = [
        made.compile(f"number {n}: {{{{ n + 1 }}}}, {{{{ brand }}}}").text(VARIABLES)
        for n in range(50)
    ]
    assert texts[7] == "number 7: 4, Acme"
    assert len(compiled) == 2
