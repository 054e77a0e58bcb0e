"""Names are safe on every file system, say as much as they can of what was meant, and are told
apart."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from crucible_batch.manifest import names
from tests.harness.case_table import each_case


def hexed(raw: str) -> str:
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]


@each_case(
    "raw",
    [
        "hero",
        "hero-1",
        "a b",
        "sku_1.v2",
        "X+Y=Z",
        "größe",
        "東京",
        "नमस्ते",
        "Ω",
        "a(1), b!",
        "_x",
        "0",
        "a" * 120,
        "é" * 60,
    ],
)
def test_a_safe_name_stays_as_it_is(raw: str) -> None:
    assert names.safe(raw) == raw


@each_case(
    "raw, likeness",
    [
        ("a:b", "a-b"), ("a<b>c", "a-b-c"), ('say "hi"', "say -hi-"), ("a|b?c*", "a-b-c-"),
        ("line\nbreak", "line-break"),
        ("tab\t", "tab-"), ("\u202egnp.exe", "_gnp.exe"), ("a\u200bb", "a-b"), ("-rf", "_rf"),
        (".hidden", "_hidden"), (" lead", "_lead"), ("trail.", "trail_"), ("trail ", "trail_"),
        ("{name}", "-name-"), ("100%", "100-"),
        ("$HOME", "-HOME"), ("`id`", "-id-"), ("a;b", "a-b"), ("~", "-"), ("😀", "-"),
        ("\x7f", "-"), ("a\u00a0b", "a-b"), ("a&b", "a-b"),
    ],
)  # fmt: skip
def test_a_troublesome_name_becomes_a_likeness_with_eight_hex(raw: str, likeness: str) -> None:
    expected = likeness if likeness[0] not in "-" else "_" + likeness[1:]
    assert names.safe(raw) == f"{expected}-{hexed(raw)}"


@each_case(
    "raw", ["a" * 121, "é" * 61, "…" * 100, "日本" * 50, "x" * 5000, "a" * 110 + ". . . . . . ."]
)
def test_a_long_name_is_cut_at_a_character_and_gets_eight_hex(raw: str) -> None:
    name = names.safe(raw)
    assert len(name.encode()) <= names.MAX_NAME_BYTES
    assert name.endswith(f"-{hexed(raw)}")


def test_a_decomposed_name_is_composed_without_more_ado() -> None:
    assert names.safe(unicodedata.normalize("NFD", "größe")) == "größe"


SAFE = re.compile(r"[^\x00-\x1f\x7f<>:\"/\\|?*]+")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300))
@example("\udc80")
@example("ſ")
@example("-")
@example(". ")
@example("\u0301")
def test_every_name_comes_out_safe_and_the_same_each_time(raw: str) -> None:
    name = names.safe(raw)
    assert name == names.safe(raw)
    assert SAFE.fullmatch(name)
    assert len(name.encode()) <= 120
    assert name[0] not in "-. "
    assert name[-1] not in ". "
    assert unicodedata.is_normalized("NFC", name)
    assert not any(unicodedata.category(character)[0] == "C" for character in name)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=200))
def test_a_safe_name_is_safe(raw: str) -> None:
    once = names.safe(raw)
    assert names.safe(once) == once


@settings(deadline=None)
@given(st.text(max_size=300))
def test_every_slug_is_a_safe_part_of_a_name(text: str) -> None:
    slug = names.slug(text)
    assert slug
    assert len(slug) <= names.MAX_SLUG_LENGTH
    assert names.safe(f"x-{slug}-1").startswith("x-")
    assert not re.search(r"[\s/\\:{}<>|?*\x00-\x1f]", slug)


@each_case(
    "text, slug",
    [
        ("noir", "noir"), ("Old Noir!", "old-noir"), ("Water  Color", "water-color"),
        ("a_b", "a-b"), ("1.5", "1.5"), ("-2", "-2"), ("1e-05", "1e-05"), ("true", "true"),
        ("Größe", "größe"), ("東京 タワー", "東京-タワー"), ("photos/a.jpg", "photos-a.jpg"),
        ("--x--", "x"), ("ﬁn", "fin"), ("...", None), ("!!!", None), ("", None),
    ],
)  # fmt: skip
def test_slugs(text: str, slug: str | None) -> None:
    assert names.slug(text) == (slug or hexed(text))


def test_a_long_slug_is_cut_and_told_apart() -> None:
    one, two = "word " * 20 + "one", "word " * 20 + "two"
    assert names.slug(one) != names.slug(two)
    assert names.slug(one).startswith("word-word-")


@each_case(
    "first, second, same",
    [
        ("a", "a", True), ("Out", "oUT", True), ("straße", "STRASSE", True), ("ﬁ", "fi", True),
        ("①", "1", True), ("é", "e\u0301", True), ("a", "b", False), ("i", "ı", False),
    ],
)  # fmt: skip
def test_the_registry_knows_names_that_file_systems_take_for_one(
    first: str, second: str, same: bool
) -> None:
    claims = names.NameClaims()
    assert claims.take(names.folded(first), first, 3) is None
    assert claims.take(names.folded(second), second, 5) == (
        names.NameClaim(first, 3) if same else None
    )
