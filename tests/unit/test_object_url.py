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
        ("file:///shared/winter", "file:///shared/winter"),
        ("file:///shared/é b@c/", "file:///shared/é b@c"),
        ("FILE:/shared", "file:///shared"),
        (Path("file:///shared/winter"), "file:///shared/winter"),
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
        "file://canary/x",
        "file://",
        "file:///",
        Path("file:///"),
        "file:///canary/../x",
        "file:///canary?x",
        "file:///canary#x",
        "file:///canary%20x",
        "file:///canary\\x",
        "file:///canary\n",
        f"file:///{'canary' * 100}",
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


def test_a_directory_has_one_state_directory_by_all_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "winter").mkdir()
    (tmp_path / "link").symlink_to("winter")
    (tmp_path / "gone").symlink_to("missing")
    names = [f"file://{tmp_path}/{name}" for name in ("winter", "winter/", "link")]
    assert len({url_of(name).digest for name in names}) == 1
    others = [f"file://{tmp_path}/missing", str(tmp_path / "winter"), "s3://tmp/winter"]
    assert len({url_of(name).digest for name in (*names, *others)}) == 4
    assert url_of(f"file://{tmp_path}/gone").digest == url_of(others[0]).digest


def test_only_a_path_is_a_run_directory(tmp_path: Path) -> None:
    """One at a URL has its journal elsewhere."""
    path, url = url_of(str(tmp_path)), url_of(f"file://{tmp_path}")
    assert (path.directory, path.folder) == (tmp_path, tmp_path)
    assert (url.directory, url.folder) == (None, tmp_path)
    assert url_of("s3://bucket/a").folder is None
    assert url_of(str(path)) == path != url == url_of(str(url))


def url_of(text: str) -> ObjectUrl:
    return ObjectUrl.at(text)
