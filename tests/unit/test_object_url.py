"""URLs of object stores: what is one, and what is refused without showing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import UserError
from crucible_batch.object_url import ObjectUrl
from tests.harness.case_table import each_case


@each_case(
    "text, url",
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("s3://bucket/a/b c/é/", "s3://bucket/a/b c/é"),
        ("S3://bucket/prefix", "s3://bucket/prefix"),
        ("gs://bucket/prefix", "gs://bucket/prefix"),
        ("az://container/prefix", "az://container/prefix"),
        (Path("s3://bucket/prefix"), "s3://bucket/prefix"),
    ],
)
def test_a_url_is_recognised_also_as_a_path(text: str | Path, url: str) -> None:
    found = ObjectUrl.parse(text)
    assert str(found) == url
    assert found == ObjectUrl.parse(Path(url))


@each_case("text", ["outputs/a", "/s3:/bucket", "./x/s3://bucket/a", "c:/x", "s3", "a b://c"])
def test_paths_are_left_alone(text: str) -> None:
    assert ObjectUrl.parse(text) is None


@each_case(
    "text",
    [
        "s3://key:canary@bucket/prefix",
        "s3://bucket/prefix?X-Amz-Signature=canary",
        "s3://bucket/prefix#canary",
        "s3://bucket",
        "s3://bucket/",
        "s3:///",
        Path("s3://"),
        Path("ftp://canary/x"),
        "sftp://canary/x",
        "s3://bucket/canary/../b",
        "s3://bucket/canary//b",
        "s3://bucket/canary\\b",
        "s3://bucket/canary\n",
        f"s3://bucket/{'canary' * 100}",
        "http://canary/x",
        "file:///canary",
        "s3a://canary/x",
    ],
)
def test_an_unusable_url_is_refused_and_not_shown(text: str | Path) -> None:
    with pytest.raises(UserError) as caught:
        ObjectUrl.parse(text)
    assert "canary" not in f"{caught.value} {caught.value.hint}"
    assert "nothing was spent" in str(caught.value.hint)


def test_each_url_has_a_state_directory_of_its_own() -> None:
    urls = [
        ObjectUrl(*parts) for parts in (("s3", "a", "b/c"), ("gs", "a", "b/c"), ("s3", "a", "b"))
    ]
    assert len({url.digest for url in urls}) == 3
