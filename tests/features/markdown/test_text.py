"""Hostile text in tables of Markdown, by GitHub's own parser and by another one."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import cmarkgfm
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from crucible_batch.core.redaction import clean
from crucible_batch.features.markdown.text import and_more, code, document, table
from tests.harness.case_table import each_case

HOSTILE = (
    "a | b", "a \\| b", "a \\\\| b", "\\", "|", "||", "`", "``", "`a` | `b`", "ends with `",
    "` begins", "a ``` b", "```\ncode\n```", "</td></table><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "@octocat", "see #12 and GH-12", "you@example.com",
    "https://example.com www.example.com", "[a](https://example.com)", "![a](https://example.com)",
    "[a]: https://example.com", "**bold** _it_ ~~no~~", ":rocket:", "&lt;b&gt; &amp; &#124;",
    "a\n| --- |\n| b |", "a\r\n\r\n# b", "<!-- a", "- [ ] b", "\x1b[31mred\x1b[0m", "$x$",
    "a\u202eb",
)  # fmt: skip


def by_github(text: str) -> str:
    """Return what GitHub's parser makes of a text; raw HTML stays, so that it would be seen."""
    return cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)


def by_another(text: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(text)


READERS = (by_github, by_another)


def cells(rendered: str) -> list[str]:
    """Return the content of the cells of a page with one table and no other tags than ours."""
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}, rendered
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rendered.split("<tr>")[1:]]
    assert {len(row) for row in rows} == {2}, rendered
    return [cell for row in rows for cell in row]


def check_shown(hostile: str, read: Callable[[str], str]) -> None:
    text = document([table(["job", ">credits"], [[code(hostile), "1"], [code("next"), "2"]])])
    _, _, shown, one, following, two = cells(read(text))
    assert (one, following, two) == ("1", "<code>next</code>", "2")
    expected = clean(hostile, 300)
    inside = html.unescape(shown.removeprefix("<code>").removesuffix("</code>"))
    assert inside == expected
    assert shown.startswith("<code>") is bool(expected)


@each_case("hostile", HOSTILE)
@each_case("read", READERS)
def test_hostile_text_is_one_code_span_in_its_cell(
    hostile: str, read: Callable[[str], str]
) -> None:
    check_shown(hostile, read)


@given(st.text("`|\\<>@a#&\n *_[]()!-:", max_size=40))
def test_any_text_is_one_code_span_in_its_cell(hostile: str) -> None:
    for read in READERS:
        check_shown(hostile, read)


def test_a_backslash_would_not_be_enough_for_the_link_of_an_address() -> None:
    """Why text is in code spans."""
    assert "mailto:" in by_github("you\\@example.com")
    assert "mailto:" not in by_github(code("you@example.com"))


def test_long_text_is_cut_and_rows_that_are_left_out_are_counted() -> None:
    assert code("a" * 400, 20) == f"`{'a' * 19}…`"
    assert and_more(0, "job", "here") == ""
    assert and_more(1, "job", "here") == "… and 1 more job: here"
    assert and_more(1200, "job", "here") == "… and 1,200 more jobs: here"
