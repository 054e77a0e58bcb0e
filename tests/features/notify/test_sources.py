"""Addresses and secrets: where they are read from, what is refused, and that no message repeats
them.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from crucible_batch.features.notify.sources import SourceFault, SourceReader
from tests.harness.case_table import each_case

KEY = "moltazine_key-of-the-account-1"
URL = "https://hc.test/9f1c-canary"


def reader(tmp_path: Path, variables: dict[str, str] | None = None, **environ: str) -> SourceReader:
    return SourceReader(
        {"MOLTAZINE_API_KEY": KEY, **environ}, variables or {}, tmp_path, "MOLTAZINE_API_KEY", KEY
    )


def secret(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(size)).decode()


def test_a_variable_of_the_environment_overrides_that_of_the_env_file(tmp_path: Path) -> None:
    sources = reader(
        tmp_path, {"HOOK": f"{URL}/file", "OTHER": f" {URL}/other\n"}, HOOK=f"{URL}/environment"
    )
    assert sources.url("env:HOOK") == f"{URL}/environment"
    assert sources.url("env:OTHER") == f"{URL}/other"
    assert repr(sources.url("env:HOOK")) == "'***'"
    assert "canary" not in repr(sources)


def test_a_file_is_relative_to_the_manifest_and_its_line_end_is_removed(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(f"{URL}\r\n")
    assert reader(tmp_path).url("file:hook") == URL
    assert reader(tmp_path / "below").url(f"file:{tmp_path}/hook") == URL


@each_case(
    "source, message",
    [
        ("env:UNSET", "env:UNSET: the variable is not set"),
        ("env:EMPTY", "env:EMPTY: the variable is not set"),
        ("file:missing", "file:missing can't be read: no such file or directory"),
        ("file:empty", "file:empty is empty"),
        ("file:.", "file:. can't be read: is a directory"),
        ("file:pipe", "file:pipe is not a regular file"),
        ("file:large", "file:large has more than 64 KiB"),
        ("file:binary", "file:binary is not UTF-8"),
        ("env:WORDS", "env:WORDS is not a URL"),
        ("env:CONTROL", "env:CONTROL is not a URL"),
        ("env:LONG", "env:LONG is not a URL"),
        ("env:PORT", "env:PORT is not a URL"),
        ("env:PORT_99999", "env:PORT_99999 is a URL whose port is not from 1 to 65535"),
        ("env:PORT_65536", "env:PORT_65536 is a URL whose port is not from 1 to 65535"),
        ("env:PORT_NEGATIVE", "env:PORT_NEGATIVE is a URL whose port is not from 1 to 65535"),
        ("env:FTP", "env:FTP is not an http or https URL"),
        ("env:NO_HOST", "env:NO_HOST is not an http or https URL"),
    ],
)
def test_a_source_that_can_not_be_used_is_named_without_its_text(
    tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text(f"{URL}?{'x' * 70_000}")
    (tmp_path / "binary").write_bytes(b"\xff\xfecanary")
    os.mkfifo(tmp_path / "pipe")
    environ = {
        "EMPTY": " ",
        "WORDS": "canary root:x:0:0",
        "CONTROL": "https://canary.test/\x01",
        "LONG": f"{URL}/{'x' * 5000}",
        "PORT": "https://canary.test:port/",
        "PORT_99999": "https://canary.test:99999/",
        "PORT_65536": "https://canary.test:65536/",
        "PORT_NEGATIVE": "https://canary.test:-1/",
        "FTP": "ftp://canary.test/",
        "NO_HOST": "https:///canary",
    }
    with pytest.raises(SourceFault) as caught:
        reader(tmp_path, **environ).url(source)
    assert str(caught.value) == message
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@each_case("read", ["url", "signing_keys", "apprise_urls", "text"])
def test_the_api_key_is_refused_under_whatever_name(tmp_path: Path, read: str) -> None:
    """A manifest of another person must not send it anywhere."""
    (tmp_path / "env").write_text(f"https://evil.test/{KEY}\n")
    sources = reader(tmp_path, {"ALIAS": f"json://evil.test/{KEY}"}, COPY=f"whsec_{KEY}")
    for source in ("env:MOLTAZINE_API_KEY", "env:ALIAS", "env:COPY", "file:env"):
        with pytest.raises(
            SourceFault, match="API key, which is never sent to another server"
        ) as caught:
            getattr(sources, read)(source)
        assert KEY not in str(caught.value)


def test_the_variable_of_the_key_is_refused_even_if_another_key_is_used(tmp_path: Path) -> None:
    sources = SourceReader(
        {"MOLTAZINE_API_KEY": "https://evil.test/"}, {}, tmp_path, "MOLTAZINE_API_KEY", None
    )
    with pytest.raises(SourceFault, match="is the API key"):
        sources.url("env:MOLTAZINE_API_KEY")


def test_several_secrets_are_separated_by_blanks(tmp_path: Path) -> None:
    sources = reader(
        tmp_path, SECRET=f"{secret(24)}  {secret(64)}\n", UNPADDED=secret(25).rstrip("=")
    )
    assert sources.signing_keys("env:SECRET") == (bytes(24), bytes(64))
    assert sources.signing_keys("env:UNPADDED") == (bytes(25),)


@each_case(
    "text",
    [
        secret(23),
        secret(65),
        base64.b64encode(bytes(32)).decode(),
        "whsec_canary!canary!canary!canary!canary",
        "canary-of-another-program",
        f"{secret(32)} canary",
    ],
)
def test_only_the_exact_form_of_a_secret_is_accepted(tmp_path: Path, text: str) -> None:
    """Any other variable must not become a signature that a receiver could guess it from."""
    with pytest.raises(
        SourceFault, match="env:SECRET must be whsec_ followed by base64 of 24 to 64 bytes"
    ) as caught:
        reader(tmp_path, SECRET=text).signing_keys("env:SECRET")
    assert "canary" not in str(caught.value)


def test_too_many_secrets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFault, match="has 6 secrets; at most 5"):
        reader(tmp_path, SECRET=" ".join([secret(32)] * 6)).signing_keys("env:SECRET")


def test_apprise_urls_are_one_a_line_with_comments(tmp_path: Path) -> None:
    sources = reader(tmp_path, URLS="# mine\njson://a.test/x\n\n  ntfy://topic \n")
    assert sources.apprise_urls("env:URLS") == ("json://a.test/x", "ntfy://topic")


@each_case("text", ["root:x:0:0:canary", "# canary", "json://a.test\ncanary = 1", "a b://canary"])
def test_a_file_that_has_other_lines_than_apprise_urls_is_refused(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "urls").write_text(text)
    with pytest.raises(
        SourceFault, match="file:urls must contain Apprise URLs, one a line"
    ) as caught:
        reader(tmp_path).apprise_urls("file:urls")
    assert "canary" not in str(caught.value)


def test_the_number_of_apprise_urls_is_limited(tmp_path: Path) -> None:
    with pytest.raises(SourceFault, match="has 21 Apprise URLs; the limit is 20"):
        reader(tmp_path, URLS="json://a.test\n" * 21).apprise_urls("env:URLS")
