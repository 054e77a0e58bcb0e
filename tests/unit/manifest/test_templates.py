"""Templates render with the variables of a job and can neither reach nor use up the machine."""

from __future__ import annotations

import time
from typing import Any

import pytest

from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.templates import Templates, is_template
from tests.harness.case_table import each_case

VARIABLES: dict[str, Any] = {
    "brand": "Acme",
    "n": 3,
    "f": 0.5,
    "on": True,
    "nothing": None,
    "words": ["b", "a", "c"],
    "row": {
        "sku": "a1",
        "items": "three",
        "a b": "spaced",
        "n": "007",
        "deep": {"x": [1, {"y": 2}]},
    },
    "repeat": 2,
    "long": "a" * 200_000,
}


@pytest.fixture
def templates() -> Templates:
    return Templates()


def text(source: str, variables: dict[str, Any] = VARIABLES) -> str:
    return Templates().compile(source).text(variables)


@each_case(
    "source, expected",
    [
        ("{{ brand }}", "Acme"),
        ("{{brand}}-{{ n }}", "Acme-3"),
        ("{{ f }} {{ on }} {{ not on }}", "0.5 true false"),
        ("{{ row.sku }} {{ row['a b'] }} {{ row.items }}", "a1 spaced three"),
        ("{{ row.deep.x[1].y }}", "2"),
        ("{{ row.n | int }}", "7"),
        ("{{ row.n | int + n }}", "10"),
        ("{{ '3' | float }}", "3.0"),
        ("{{ 'x' | int(5) }} {{ 'y' | float(0.5) }}", "5 0.5"),
        ("{{ brand | upper | lower | capitalize | title }}", "Acme"),
        ("{{ words | sort | join(', ') }}", "a, b, c"),
        (
            "{{ words | first }}{{ words | last }}{{ words | length }}{{ words | reverse | join }}",
            "bc3cab",
        ),
        ("{{ words | map('upper') | join }}", "BAC"),
        ("{{ words | select('eq', 'a') | list | length }}", "1"),
        ("{{ words[0] }}{{ words[-1] }}{{ words[1:] | join }}", "bcac"),
        ("{{ nowhere | default('x') }}{{ row.gone | d('y') }}", "xy"),
        ("{{ nothing | default('none', true) }}", "none"),
        ("{{ 'yes' if n > 2 else 'no' }}", "yes"),
        (
            (
                "{% if row.sku is defined %}a{% else %}b{% endif %}"
                "{% if gone is defined %}c{% endif %}"
            ),
            "a",
        ),
        (
            (
                "{% for w in words %}{{ loop.index }}{{ w }}"
                "{% if not loop.last %},{% endif %}{% endfor %}"
            ),
            "1b,2a,3c",
        ),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{% set x = brand ~ n %}{{ x ~ x }}", "Acme3Acme3"),
        (
            "{{ 'a' + 'b' }}{{ 3 * 4 }}{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 1 / 2 }}",
            "ab121024330.5",
        ),
        ("{{ '%03d' | format(n) }} {{ '%s-%.2f' | format(brand, f) }}", "003 Acme-0.50"),
        (
            "{{ 'a,b' .split(',') | join('/') }}{{ brand.upper() }}{{ brand.startswith('A') }}",
            "a/bACMEtrue",
        ),
        ("{{ brand | replace('Ac', 'Gi') }}", "Gime"),
        ("{{ 2.567 | round(1) }} {{ -5 | abs }}", "2.6 5"),
        ("{{ 'Über uns!' | slug }}", "über-uns"),
        ("{{ {'a': ['é', 1]} | tojson }}", '{"a": ["é", 1]}'),
        ("{{ 'a long text' | truncate(8, true, '…', 0) }}{{ ' x ' | trim }}", "a long …x"),
        ("{{ '<b>' }}{# gone #}&", "<b>&"),
        ("{{ '{{ brand }}' }}", "{{ brand }}"),
        ("a\n{{ n }}\n", "a\n3\n"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        (
            (
                "{{ [1, 2] | sum }}{{ [3, 1] | max }}{{ [3, 1] | min }}"
                "{{ ['a', 'a'] | unique | join }}"
            ),
            "331a",
        ),
    ],
)
def test_templates_render(source: str, expected: str) -> None:
    assert text(source) == expected


@each_case(
    "source, expected",
    [
        ("{{ n }}", 3),
        ("{{ f }}", 0.5),
        ("{{ on }}", True),
        ("{{ nothing }}", None),
        ("{{ words }}", ["b", "a", "c"]),
        ("{{ row.deep }}", {"x": [1, {"y": 2}]}),
        ("{{ row.n }}", "007"),
        ("{{ row.n | int }}", 7),
        ("{{ '5' }}", "5"),
        ("{{ 5 }}", 5),
        ("{{ n + 1 }}", 4),
        ("{{ n > 2 }}", True),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ words | map('upper') }}", ["B", "A", "C"]),
        ("{{ 2 ** 64 }}", 2**64),
        ("{{ n if on else f }}", 3),
        ("{{ none }}", None),
        # anything beside the one expression makes a text of it
        (" {{ n }}", " 3"),
        ("{{ n }}\n", "3\n"),
        ("{{ n }}{{ n }}", "33"),
        ("x{{ n }}", "x3"),
        ("{{ n }}{# c #}{{ '' }}", "3"),
        ("{% if on %}{{ n }}{% endif %}", "3"),
    ],
)
def test_one_expression_keeps_the_type_of_its_value(
    templates: Templates, source: str, expected: Any
) -> None:
    value = templates.compile(source).value(VARIABLES)
    assert value == expected
    assert type(value) is type(expected)


SYNTAX: list[tuple[str, str, str | None]] = [
    ("{{ brand", "not a template:", None),
    ("{{ }}", "not a template:", None),
    ("{{ 1 + }}", "not a template:", None),
    ("{% if x %}", "not a template:", None),
    ("{{ x | uper }}", "no filter named 'uper'", "upper"),
    ("{{ x | safe }}", "no filter named 'safe'", None),
    ("{{ x | random }}", "no filter named 'random'", None),
    ("{{ x is nonsense }}", "no test named 'nonsense'", None),
    ("{% include 'x' %}", "the statement include is not available", None),
    ("{% import 'x' as y %}", "the statement import is not available", None),
    ("{% from 'x' import y %}", "the statement fromimport is not available", None),
    ("{% extends 'x' %}", "the statement extends is not available", None),
    ("{% block x %}{% endblock %}", "the statement block is not available", None),
    (
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "the statement macro is not available",
        None,
    ),
    ("{% call x() %}{% endcall %}", "the statement callblock is not available", None),
    ("{% filter upper %}x{% endfilter %}", "the statement filterblock is not available", None),
    ("{% set x %}y{% endset %}", "the statement assignblock is not available", None),
    (
        "{% for x in words recursive %}{{ loop(x) }}{% endfor %}",
        "recursive loops are not available",
        None,
    ),
    ("{% set ns.x = 1 %}", "attributes can't be set", None),
    ("{% do x %}", "unknown tag 'do'", None),
    ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "nested too deeply", None),
    ("{{ " + "[" * 300 + "1" + "]" * 300 + " }}", "nested too deeply", None),
    ("{{ 1" + " + 1" * 5000 + " }}", "nested too deeply", None),
    ("{% if 1 %}" * 120 + "x" + "{% endif %}" * 120, "nested too deeply", None),
    ("{% for x in words %}" * 30 + "x" + "{% endfor %}" * 30, "nested too deeply", None),
    ("{{ " + "9" * 5000 + " }}", "huge number", None),
    ("{{ x }}" + "y" * 70_000, "the template is longer than 64 KiB", None),
]


@each_case("source, message, nearest", SYNTAX)
def test_what_is_no_template_says_why(
    templates: Templates, source: str, message: str, nearest: str | None
) -> None:
    with pytest.raises(TemplateFault, match=message.replace("(", r"\(")) as caught:
        templates.compile(source)
    assert caught.value.nearest == nearest


def test_a_fault_of_syntax_has_its_line(templates: Templates) -> None:
    with pytest.raises(TemplateFault) as caught:
        templates.compile("one\ntwo\n{{ three\n")
    assert caught.value.line in {3, 4}


UNKNOWN: list[tuple[str, str, str | None]] = [
    ("{{ brnad }}", "the variable 'brnad' is unknown", "brand"),
    ("{{ xyzzy }}", "the variable 'xyzzy' is unknown", None),
    ("{{ rnage(3) }}", "the variable 'rnage' is unknown", "range"),
    ("{{ brnad | upper }}", "the variable 'brnad' is unknown", "brand"),
    ("{{ brnad + 'x' }}", "the variable 'brnad' is unknown", "brand"),
    ("{{ brnad ~ 'x' }}", "the variable 'brnad' is unknown", "brand"),
    ("{{ brnad.x }}", "the variable 'brnad' is unknown", "brand"),
    ("{{ 'a' if brnad else 'b' }}", "the variable 'brnad' is unknown", "brand"),
    ("{% for x in brnad %}{% endfor %}", "the variable 'brnad' is unknown", "brand"),
    ("{{ brnad == 'x' }}", "the variable 'brnad' is unknown", "brand"),
    ("{{ row.skuu }}", "`row` has no 'skuu'", "sku"),
    ("{{ row['skuu'] }}", "`row` has no 'skuu'", "sku"),
    ("{{ row.deep.z }}", "the mapping has no 'z'", None),
    ("{{ brand.x }}", "text has no 'x'", None),
    ("{{ n.real }}", "an integer has no 'real'", None),
    ("{{ words[7] }}", "a list has no '7'", None),
]


@each_case("source, message, nearest", UNKNOWN)
def test_an_unknown_name_is_a_fault_with_the_nearest(
    source: str, message: str, nearest: str | None
) -> None:
    for render in (
        lambda t: t.compile(source).text(VARIABLES),
        lambda t: t.compile(source).value(VARIABLES),
    ):
        with pytest.raises(TemplateFault) as caught:
            render(Templates())
        assert message in caught.value.message
        assert caught.value.nearest == nearest
        assert caught.value.is_unknown_name


@each_case(
    "variables, hint",
    [
        ({}, "`vars`, `matrix` and `foreach` define variables"),
        ({"brand": "Acme", "row": {}}, "available: brand, row"),
        (
            dict.fromkeys("abcdefghijklmn", 1),
            "available: a, b, c, d, e, f, g, h, i, j, k, l and 2 more",
        ),
    ],
)
def test_an_unknown_name_that_is_near_none_is_told_which_there_are(
    variables: dict[str, object], hint: str
) -> None:
    with pytest.raises(TemplateFault) as caught:
        text("{{ xyzzy }}", variables)
    assert caught.value.hint == hint


def test_row_without_rows_says_what_is_missing() -> None:
    with pytest.raises(TemplateFault) as caught:
        text("{{ row.sku }}", {"rows": 1})
    assert caught.value.hint == "`row` needs `foreach` in the same job"


@each_case(
    "source, message",
    [
        ("{{ nothing }}", "the value is null"),
        ("{{ nothing ~ 'x' }}", "the value is null"),
        ("{{ words }}", "use the filter join or tojson"),
        ("{{ row }}", "use the filter join or tojson"),
        ("{{ range }}", "can't be inserted into text"),
        ("{{ brand.upper }}", "can't be inserted into text"),
        ("{{ 1 / 0 }}", "divides by zero"),
        ("{{ 'x' | int }}", "'x' is not an integer"),
        ("{{ '' | int }}", "'' is not an integer"),
        ("{{ '1.5' | int }}", "'1.5' is not an integer"),
        ("{{ 'nan' | float }}", "'nan' is not a number"),
        ("{{ 'a' + 1 }}", "can't be rendered"),
        ("{{ brand() }}", "can't be rendered"),
        ("{{ [] | first }}", "no first item|can't be rendered|is unknown"),
        ("{{ 'a' % 1 }}", "text % values is not available"),
    ],
)
def test_what_cannot_be_rendered_says_why(source: str, message: str) -> None:
    with pytest.raises(TemplateFault, match=message):
        text(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1e999 }}",
        "{{ 1e308 * 10 }}",
        "{{ brand.upper }}",
        "{{ range }}",
        "{{ nowhere }}",
        "{{ [nowhere] }}",
        "{{ {1: range} }}",
        "{{ (-1) ** 0.5 }}",
    ],
)
def test_what_is_no_json_value_is_refused(templates: Templates, source: str) -> None:
    with pytest.raises(TemplateFault):
        templates.compile(source).value(VARIABLES)


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ brand.__init__.__globals__ }}",
    "{{ brand.format }}",
    "{{ '{0.__class__}'.format(brand) }}",
    "{{ '{x.__class__}'.format_map({'x': brand}) }}",
    "{{ brand | attr('__class__') }}",
    "{{ words | map(attribute='__class__') | list }}",
    "{{ words.append('x') }}",
    "{{ row.deep.clear() }}",
    "{{ row.deep.update({}) }}",
    "{{ range.__class__ }}",
    "{{ lipsum() }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler('a').__init__ }}",
    "{{ joiner() }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ environment }}",
    "{{ context }}",
    "{{ config }}",
    "{{ request }}",
    "{{ loop.__class__ }}",
    "{% for x in words %}{{ loop._iterable }}{% endfor %}",
    "{% for x in words %}{{ loop._undefined }}{% endfor %}",
    "{{ (1).to_bytes(10) }}",
    "{{ brand.encode() }}",
    "{{ brand.translate({}) }}",
    "{{ ().count.__self__ }}",
]


@each_case("source", ESCAPES)
def test_nothing_but_values_can_be_reached(source: str) -> None:
    variables = dict(VARIABLES)
    with pytest.raises(TemplateFault):
        text(source, variables)
    assert variables["words"] == ["b", "a", "c"]
    assert variables["row"]["deep"] == {"x": [1, {"y": 2}]}


BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ 'a' * 99999999999999999999 }}",
    "{{ [1] * 10**9 }}",
    "{{ (1,) * 10**9 }}",
    "{{ 9**9999 }}",
    "{{ 2**99999999 }}",
    "{{ 10**900 }}",
    "{{ " + " * ".join(["10**300"] * 5) + " }}",
    "{{ range(10**9) | list }}",
    "{{ range(10**9) | length }}",
    "{{ range(0, 10**30) }}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}",
    "{% for i in range(999) %}" * 6 + "{% endfor %}" * 6,
    "{% for i in range(9000) %}{{ range(9000) | sum }}{% endfor %}",
    "{% for i in range(9000) %}{% if range(9000) | list == [] %}{% endif %}{% endfor %}",
    "{% for i in range(9000) %}{{ long }}{% endfor %}",
    "{% for i in range(9000) %}{% set x = long ~ i %}{% endfor %}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "{% set a = ['a'] %}" + "{% set a = a + a %}" * 60 + "{{ a | length }}",
    "{% set a = ['a'] %}" + "{% set a = [a, a] %}" * 60 + "{{ a | string }}",
    "{% set a = ['a'] %}{% set b = ['a'] %}"
    + "{% set a = [a, a] %}{% set b = [b, b] %}" * 60
    + "{{ a == b }}",
    "{% set a = {'a': 1} %}" + "{% set a = {'a': a, 'b': a} %}" * 60 + "{{ a | tojson }}",
    "{% set a = ('a',) %}" + "{% set a = (a, a) %}" * 60 + "{{ a | string }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ '%*d' | format(999999999, 1) }}",
    "{{ '%.999999999f' | format(1.5) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ 'a'.join(['b'] * 10**6) }}",
    "{{ long | replace('a', long) }}",
    "{{ long.replace('a', long) }}",
    "{{ range(9000) | join(long) }}",
    "{{ long | indent(10**9) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ 1.5 | round(10**9, 'ceil') }}",
    "{{ long | length ** 100 }}",
    "{{ long | replace('a', '9') | int }}",
    "{{ long | int(0, 16) }}",
    "{{ 'x' | wordwrap(1, true, 'y' * 10**9) }}",
    "{{ long | replace('a', 'a ') | length }}",
]


@each_case("source", BOMBS)
def test_a_bomb_ends_in_a_fault_and_soon(source: str) -> None:
    started = time.process_time()
    for render in (
        lambda t: t.compile(source).text(VARIABLES),
        lambda t: t.compile(source).value(VARIABLES),
    ):
        with pytest.raises(TemplateFault):
            render(Templates())
    assert time.process_time() - started < 20  # without a limit a bomb takes minutes, or all memory


def test_output_is_bounded_in_bytes(templates: Templates) -> None:
    assert len(templates.compile("{% for i in range(1000) %}x{% endfor %}").text({}, 1000)) == 1000
    for source in (
        "{% for i in range(501) %}é{% endfor %}",
        "{% for i in range(1001) %}x{% endfor %}",
    ):
        with pytest.raises(TemplateFault, match="longer than"):
            templates.compile(source).text({}, 1000)


def test_one_rendering_does_not_eat_the_next_ones_share(templates: Templates) -> None:
    template = templates.compile("{% for i in range(9000) %}x{% endfor %}")
    for _ in range(20):
        assert len(template.text({})) == 9000


@pytest.mark.parametrize("source", ["{{ n + 1 }}", "{% if n %}x{% endif %}", "{{ '{' }}"])
def test_a_template_is_compiled_once(
    templates: Templates, compiled: list[object], source: str
) -> None:
    for number in range(50):
        templates.compile(source)
        if number % 10 == 0:
            templates.compile(f"{{{{ n }}}} {number}")
    assert len(compiled) == 2  # this one, and {{ n }}


def test_names_of_a_template_are_what_it_asks_for(templates: Templates) -> None:
    template = templates.compile(
        "{% set y = x %}{% for i in row.z %}{{ i }}{{ y }}{% endfor %}{{ style | upper }}"
    )
    assert template.names == {"x", "row", "style"}


@each_case(
    "source, expected", [("a", False), ("{a}", False), ("{{", True), ("{% x", True), ("{#", True)]
)
def test_plain_text_is_no_template(source: str, expected: bool) -> None:
    assert is_template(source) is expected


@each_case(
    "method",
    [
        "center",
        "expandtabs",
        "ljust",
        "rjust",
        "zfill",
        "join",
        "replace",
        "translate",
        "encode",
        "format",
        "format_map",
    ],
)
def test_a_method_that_can_grow_a_text_is_refused_by_its_name(method: str) -> None:
    """A result that is refused for its length has been made already."""
    with pytest.raises(TemplateFault, match=f"text has no '{method}' in templates"):
        Templates().compile(f"{{{{ brand.{method}(2) }}}}").text({"brand": "Acme"})
