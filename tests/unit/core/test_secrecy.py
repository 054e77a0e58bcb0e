"""A secret is found in what it is dressed in, and what is no secret stays as it is."""

from __future__ import annotations

import base64
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.redaction import MASK, Secret, mask_link_secrets, strip_invisible
from tests.harness.case_table import each_case
from tests.harness.disguises import DISGUISES, shows

KEY = "moltazine_Zq3v9Xw7TkR2mN8pLs5dHf4gJc6b-y_1"


def secret() -> Secret:
    return Secret(KEY)


def test_the_reader_sees_through_each_disguise() -> None:
    assert [
        name for name, dressed in DISGUISES.items() if not shows(KEY, f"see {dressed(KEY)} there")
    ] == []


@each_case("name", DISGUISES)
def test_a_disguise_is_seen_through(name: str) -> None:
    text = f"see {DISGUISES[name](KEY)} there"
    assert secret().is_in(text)
    hidden = secret().mask_in(text)
    assert hidden == ("see *** there" if name in {"plain", "token alone"} else MASK)


words = st.text(st.characters(codec="utf-8"), max_size=30)
fillers = st.text(
    st.sampled_from("\u200b\u00ad\ufeff\u0301\u202e\x00\x1b\t\n \u00a0\u3000.\u180e"), max_size=3
)


@given(st.data(), st.sampled_from(sorted(DISGUISES)), words, words)
def test_no_text_around_it_and_nothing_within_it_hides_the_secret(
    data: st.DataObject, name: str, before: str, after: str
) -> None:
    filled = "".join(letter + data.draw(fillers) for letter in KEY)
    for dressed in (filled, DISGUISES[name](KEY)):
        assert not shows(KEY, secret().mask_in(f"{before} {dressed} {after}"))


@given(st.text())
def test_a_text_without_it_stays_as_it_is(text: str) -> None:
    assert secret().mask_in(text) == text


@each_case(
    "text",
    [
        "11111111-1111-4111-8111-111111111111",
        "the API key moltazine_*** is not known",
        "https://store.test/moltazine_outputs/0.png?X-Amz-Signature=0123456789abcdef%2F",
        r"C:\new\u00fc&amp;%zz\uZZZZ &#xFFFFFFFFF; &nosuch;",
        "Zq3v9Xw7TkR",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert secret().mask_in(text) == text
    assert not secret().is_in(text)


@each_case("between", ["%\x075f", "%\u200b5f", "&#\x1b[1m95;", "\\u\x00005f"])
def test_it_is_found_where_something_invisible_is_within_an_escape(between: str) -> None:
    assert secret().mask_in(between.join(KEY.split("_"))) == MASK
    assert strip_invisible(between) != between


def test_a_key_of_twelve_letters_is_found_in_any_case_and_one_of_eleven_is_not() -> None:
    assert Secret("moltazine_abcdefghijkl").is_in("ABC-DEFGHIJKL")
    assert not Secret("moltazine_abcdefghijk").is_in("ABC-DEFGHIJK")


@each_case("short", ["k3y", "moltazine_sandbox"])
def test_a_short_key_is_found_as_it_is_alone(short: str) -> None:
    assert Secret(short).mask_in(f"the {short} of the sandbox") == "the *** of the sandbox"
    assert Secret(short).mask_in("the sandbox has k_3_y") == "the sandbox has k_3_y"


@each_case("offset", range(3))
@each_case("text", [KEY, "moltazine_k?3>x~Q?z7>m~w?2Vp>8~R?t4>Ns~6?b>h~1"])
def test_it_is_found_in_base64_at_any_offset_and_in_other_lines(text: str, offset: int) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found = encode(bytes(offset) + text.encode() + b"xyz").decode()
        assert Secret(text).mask_in(f"'{found}'") == MASK
        assert Secret(text).mask_in(f"'{found[:30]}\n {found[30:]}'") == MASK


@each_case("between", [r"\n", r"\\t", "\x1b[31m", "%0a", "&#10;", "\u0301"])
def test_nothing_that_is_no_letter_hides_it_between_its_letters(between: str) -> None:
    assert secret().mask_in(between.join(KEY)) == MASK


@each_case(
    "text, shown",
    [
        (
            "at https://s.test/b/x.png?X-Sig=SECRET&e=1, again",
            "at https://s.test/b/x.png?***, again",
        ),
        ("https://s.test/x#token=SECRET", "https://s.test/x#***"),
        ("https://user:SECRET@s.test/x.", "https://***@s.test/x."),
        ("https://user:SEC/RET@s.test/x", "https://***@s.test/x"),
        ("https://user:SEC#RET@s.test/x", "https://***"),
        ("https://user:SEC?RET@s.test/x", "https://***"),
        ("HTTPS://S.TEST/x?SECRET", "HTTPS://S.TEST/x?***"),
        ("s3://bucket/x?SECRET and ftp://u:SECRET@h/", "s3://bucket/x?*** and ftp://***@h/"),
        (
            r"{\"url\":\"https:\/\/s.test\/x?sig=SECRET\"}",
            r"{\"url\":\"https:\/\/s.test\/x?***" + '"}',
        ),
        ("https://s.test/x? X-Amz-Signature=SECRET more", "https://s.test/x?*** more"),
        ("see https://s.test/x ? why", "see https://s.test/x?*** why"),
        ("https://s.test/x ?X-Amz-Signature=SECRET a=SECRET more", "https://s.test/x?*** more"),
        ("https://s.test/ x?abc=SECRET", "https://s.test/ x?***"),
        ("s.test/x?abc=SECRET", "s.test/x?***"),
        ("x&X-Amz-Signature=SECRET", "x&***"),
        ("X-Amz-Signature=SECRET", "X-Amz-Signature=***"),
        (
            "https%3A%2F%2Fs.test%2Fx%3FX-Amz-Signature%3DSECRET%26e",
            "https%3A%2F%2Fs.test%2Fx%3FX-Amz-Signature%3D***",
        ),
        (
            "https%253A%252F%252Fs%252Fx%253Ftoken%253DSECRET",
            "https%253A%252F%252Fs%252Fx%253Ftoken%253D***",
        ),
        ("token&#61;SECRET", "token&#61;***"),
        ("X-Amz-Signature: SECRET", "X-Amz-Signature: ***"),
        ("X-Amz-Signature : SECRET, X-Amz-Date: 2026", "X-Amz-Signature : ***, X-Amz-Date: 2026"),
        ("x-amz-security-token:SECRET.", "x-amz-security-token:***."),
        ("X-Amz-Signature = SECRET e", "X-Amz-Signature = *** e"),
        ("signature: 'SECRET SECRET' e", "signature: '***' e"),
        ('password="SECRET SECRET" e', 'password="***" e'),
        ("token: Bearer SECRET e", "token: *** e"),
        ("API key: SECRET", "API key: ***"),
        ('{"signature":"SECRET","e":"1"}', '{"signature":"***","e":"1"}'),
        ('{"X-Amz-Signature" : "SECRET SECRET", "e": 1}', '{"X-Amz-Signature" : "***", "e": 1}'),
        ('{"sig":"SECRET\\"SECRET","e":"1"}', '{"sig":"***","e":"1"}'),
        (r'"{\"secret\": \"SECRET\", \"e\": 1}"', r'"{\"secret\": \"***\", \"e\": 1}"'),
        (r"\\\"token\\\":\\\"SECRET\\\" e", r"\\\"token\\\":\\\"***\\\" e"),
        ("{'credential': 'SECRET', 'e': 1}", "{'credential': '***', 'e': 1}"),
        ('{"token": 5EC2E7, "e": 1}', '{"token": ***, "e": 1}'),
        ('{"token":"SECRET SECRET', '{"token":"***'),
        (
            "{&quot;token&quot;:&quot;SECRET&quot;,&quot;e",
            "{&quot;token&quot;:&quot;***&quot;,&quot;e",
        ),
        ("%7B%22token%22%3A%22SECRET%22%2C%22e", "%7B%22token%22%3A%22***%22%2C%22e"),
        ('{"token": null, "secret": true, "e": "a password is wanted"}', None),
        ("the signature: see docs. The token: expired", None),
        ("a signature. Password rules: see docs", None),
        ("what? nothing here; design=modern, see https://s.test/x", None),
        ("a token: none was sent. Is it there? #12 & more", None),
    ],
)
def test_a_link_loses_its_rights(text: str, shown: str | None) -> None:
    assert mask_link_secrets(text) == (text if shown is None else shown)


names = st.text(string.ascii_letters + "-._[]", min_size=1, max_size=12)
blanks = st.sampled_from(["", " ", "\t", "\n", "\r\n ", "\u00a0", "\u2003", "\u200b", "\ufeff"])


@given(
    st.text(max_size=20),
    st.sampled_from(
        [
            "https://s.test/x{b}?{b}{n}=SECRET",
            "https://s.test/{b}x#{n}=SECRET",
            "ht{z}tps://u:SECRET{z}@h/",
        ]
    ),
    names,
    blanks,
    st.text(max_size=20),
)
def test_no_link_keeps_its_rights_once_it_is_visible(
    before: str, form: str, name: str, blank: str, after: str
) -> None:
    link = form.format(b=blank, z="\u200b", n=name)
    assert "SECRET" not in mask_link_secrets(strip_invisible(f"{before} {link} {after}"))


MEGABYTE = 1_000_000
HOSTILE = {
    "base64": "QUJD+/ab",
    "references": "&#65;",
    "JSON": "\\u0041",
    "percent": "%41",
    "other scripts": "é語",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_megabyte_takes_no_minutes(kind: str) -> None:
    text = HOSTILE[kind] * (MEGABYTE // len(HOSTILE[kind]))
    began = time.process_time()
    assert not secret().is_in(text)
    assert time.process_time() - began < 20  # a quarter of a second; the machine may be slow


NAMES_WITHOUT_END = [
    f"{name}{text}"
    for name in ("token", "token:", 'token:"', "token:'", r"token\"\\\"")
    for text in (
        "\\" * 60_000,
        " " * 60_000,
        "token:" * 10_000,
        "token='" * 9_000,
        "%25" * 20_000,
        'a\\"' * 20_000,
    )
]


def test_a_name_without_an_end_takes_no_endless_time() -> None:
    began = time.process_time()
    for text in NAMES_WITHOUT_END:
        mask_link_secrets(text)
    assert time.process_time() - began < 20


def test_an_endless_text_takes_no_endless_time() -> None:
    for text in (
        "http://" * 60_000,
        "a@" * 200_000,
        "=" * 400_000,
        "?a" * 200_000,
        "&" * 400_000,
        "\\u" * 200_000,
    ):
        mask_link_secrets(text[:4000])
        assert not secret().is_in(text)
