"""Marks that pages save: who may, how much, and what other pages see of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.features.view.conftest import Viewer, viewing
from tests.harness.case_table import each_case
from tests.harness.commands import Cli, running_sandbox

JOBS = """\
- {name: hero, prompt: "heron {{ repeat }}", repeat: 2, params: {size.width: 64, size.height: 64}}
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with running_sandbox("--time-scale", "0") as url:
        cli = Cli(tmp_path_factory.mktemp("saved"), url)
        assert cli("run", cli.write("saved", JOBS)).code == 0
        yield cli


@pytest.fixture(scope="module")
def viewer(cli: Cli) -> Iterator[Viewer]:
    with viewing(cli, "--control") as running:
        yield running


def post(
    viewer: Viewer, content: object, *, drop: str = "", key: str = "", **changed: str
) -> httpx.Response:
    """Save as a page does, but for what is dropped and changed."""
    headers = {
        "x-crucible-control": viewer.token,
        "origin": str(viewer.client.base_url).rstrip("/"),
        "content-type": "application/json",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    headers.pop(drop, None)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    key = key or viewer.key("saved/default")
    return viewer.client.post(f"/save/marks/{key}", content=body, headers=headers)


def key_of(viewer: Viewer, name: str) -> str:
    jobs = viewer.data(viewer.key("saved/default"))["jobs"]
    (output,) = next(job["outputs"] for job in jobs if job["name"] == name)
    return f"{name}/0 {(output.get('sent') or output)['sha256'][:12]}"


def test_a_page_saves_and_another_one_sees_it(viewer: Viewer, cli: Cli) -> None:
    key, picked = viewer.key("saved/default"), key_of(viewer, "hero-1")
    data = viewer.data(key)
    live = data["live"]
    address = (
        f"/events/{key}?edition={live['edition']}&after={live['number']}"
        f"&commands={live['commands']}"
    )
    old = viewer.events(f"{address}&fields=none")
    assert next(old) == ("fields", {"all": True, "marks": data["marks"]})
    old.close()
    feed = viewer.events(f"{address}&fields={data['fields']}")
    answer = post(viewer, {"marks": {picked: {"mark": "picked"}}, "notes": {"hero-1": "soft"}})
    assert (answer.status_code, answer.json()) == (200, {"unknown": []})
    changes = next(found for kind, found in feed if kind == "fields")
    assert changes["marks"]["marks"] == {picked: {"mark": "picked"}}
    rejected = key_of(viewer, "hero-2")
    assert post(viewer, {"rejected": [rejected]}).status_code == 200
    changes = next(found for kind, found in feed if kind == "fields")
    assert changes["marks"]["marks"] == {rejected: {"mark": "rejected"}}
    feed.close()
    saved: Any = viewer.data(key)["marks"]
    assert saved["notes"] == {"hero-1": "soft"}
    assert saved["marks"][rejected] == {"mark": "rejected"}
    assert (cli.cwd / "outputs/saved/default/rejects.txt").read_text() == (
        rejected.replace(" ", " g0 ") + "\n"
    )
    assert post(viewer, {"restored": [rejected]}).status_code == 200


@each_case(
    "drop, changed, status",
    [
        ("x-crucible-control", {}, 403),
        ("", {"x_crucible_control": "a" * 43}, 403),
        ("origin", {}, 403),
        ("", {"origin": "http://evil.example"}, 403),
        ("", {"origin": "null"}, 403),
        ("", {"host": "evil.example", "origin": "http://evil.example"}, 400),
        ("", {"sec_fetch_site": "cross-site"}, 403),
        ("", {"content_type": "text/plain"}, 415),
        ("content-type", {}, 415),
    ],
)
def test_only_a_page_of_this_session_saves(
    viewer: Viewer, cli: Cli, drop: str, changed: dict[str, str], status: int
) -> None:
    change = {"notes": {"hero-2": "not saved"}}
    answer = post(viewer, change, drop=drop, **changed)
    assert answer.status_code == status
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert "not saved" not in viewer.get(f"/data/{viewer.key('saved/default')}").text


def test_what_is_too_long_wrong_or_of_no_run_is_refused(viewer: Viewer) -> None:
    assert post(viewer, b" " * 600_000).status_code == 413
    wrong = post(viewer, {"marks": {"../../x": {"mark": "picked"}}})
    assert (wrong.status_code, set(wrong.json())) == (409, {"message", "hint"})
    assert post(viewer, {}, key="0" * 12).status_code == 404
    for address in ("/save/other/" + "0" * 12, "/save/", "/save/marks/"):
        headers = {"x-crucible-control": viewer.token}
        assert viewer.client.post(address, headers=headers).status_code in {404, 405}


@each_case("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_marks_are_posted_only(viewer: Viewer, method: str) -> None:
    headers = {"x-crucible-control": viewer.token}
    address = f"/save/marks/{viewer.key('saved/default')}"
    assert viewer.client.request(method, address, headers=headers).status_code == 405


def test_a_viewer_without_control_shows_marks_and_saves_none(cli: Cli, viewer: Viewer) -> None:
    picked = key_of(viewer, "hero-1")
    post(viewer, {"marks": {picked: {"rating": 2}}})
    with viewing(cli) as plain:
        plain.token = "x" * 43
        assert plain.data(plain.key("saved/default"))["marks"]["marks"][picked]["rating"] == 2
        assert post(plain, {"notes": {"hero-1": "more"}}).status_code == 405
        assert "/save/marks/" not in plain.get(f"/runs/{plain.key('saved/default')}/").text
