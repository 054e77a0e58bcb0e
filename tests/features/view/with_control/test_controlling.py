"""`view --control`: who may give commands to runs, and from where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.control.test_control_command import active
from tests.features.view.conftest import Viewer, viewing
from tests.harness.case_table import each_case
from tests.harness.commands import Cli, running_sandbox


@pytest.fixture(scope="module")
def slow_gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "60", "--runners", "1") as url:
        yield url


class Controlled(Viewer):
    """A viewer with a token, and the page of an active run."""

    key_: str

    def post(
        self, words: object, *, drop: str = "", content: bytes | None = None, **changed: str
    ) -> tuple[int, str]:
        """Give a command as the page does, but for what is dropped and changed; return the status
        and the text."""
        origin = str(self.client.base_url).rstrip("/")
        headers = {
            "x-crucible-control": self.token,
            "origin": origin,
            "content-type": "application/json",
        }
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        headers.pop(drop, None)
        body = json.dumps({"words": words}).encode() if content is None else content
        sent = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = self.client.post(f"/control/{self.key_}", content=body, headers=sent)
        assert not any(name.startswith("access-control") for name in answer.headers)
        return answer.status_code, answer.text


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, slow_gateway: str) -> Iterator[Controlled]:
    cli = Cli(tmp_path_factory.mktemp("controlled"), slow_gateway)
    with active(cli, "shown"), viewing(cli, "--control") as plain:
        viewer = Controlled(plain.process, plain.url, plain.token)
        viewer.key_ = viewer.key("shown/default")
        yield viewer
        viewer.client.close()


def test_the_page_of_this_session_pauses_and_resumes_the_run(page: Controlled) -> None:
    status, text = page.post(["pause"])
    assert status == 200, text
    assert json.loads(text)["message"].startswith("paused; ")
    live = page.data(page.key_)["live"]
    assert (live["paused"], live["commands"] > 0) == (True, True)
    assert live["standing"].startswith("paused by ")
    number = live["number"]
    changes = page.events(
        f"/events/{page.key_}?edition={live['edition']}&after={number}&commands={live['commands']}"
    )
    assert json.loads(page.post(["resume"])[1])["message"].startswith("resumed after ")
    assert (
        next(change for kind, change in changes if kind == "change")["live"]["standing"]
        == "running now"
    )
    changes.close()


@each_case(
    "drop, changed, status",
    [
        ("x-crucible-control", {}, 403),
        ("", {"x_crucible_control": ""}, 403),
        ("", {"x_crucible_control": "a" * 43}, 403),
        ("", {"x_crucible_control": "\xe9"}, 403),
        ("x-crucible-control", {"cookie": "x-crucible-control=TOKEN"}, 403),
        ("origin", {}, 403),
        ("", {"origin": "http://evil.example"}, 403),
        ("", {"origin": "null"}, 403),
        ("", {"origin": "https://127.0.0.1"}, 403),
        ("", {"host": "evil.example"}, 400),
        ("", {"host": "evil.example", "origin": "http://evil.example"}, 400),
        ("", {"sec_fetch_site": "cross-site"}, 403),
        ("", {"sec_fetch_site": "same-site"}, 403),
        ("", {"content_type": "text/plain"}, 415),
        ("content-type", {}, 415),
    ],
)
def test_a_command_that_is_not_of_a_page_of_this_session_is_refused(
    page: Controlled, drop: str, changed: dict[str, str], status: int
) -> None:
    changed = {name: value.replace("TOKEN", page.token) for name, value in changed.items()}
    assert page.post(["pause"], drop=drop, **changed)[0] == status
    assert not page.data(page.key_)["live"]["paused"]


@each_case("content", [b"", b"{", b"[]", b'{"words": "pause"}', b'{"words": [1]}', b"[" * 10_000])
def test_what_is_no_command_is_refused(page: Controlled, content: bytes) -> None:
    assert page.post(None, content=content)[0] == 400


def test_a_command_that_is_too_long_wrong_or_for_no_run_is_refused(page: Controlled) -> None:
    assert page.post(["retry", "a" * 20_000])[0] == 413
    status, text = page.post(["halt"])
    assert (status, "hint" in json.loads(text)) == (409, True)
    known, page.key_ = page.key_, "0" * 12
    assert page.post(["pause"])[0] == 404
    page.key_ = known


@each_case("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_commands_are_posted_only(page: Controlled, method: str) -> None:
    headers = {"x-crucible-control": page.token, "origin": str(page.client.base_url).rstrip("/")}
    answer = page.client.request(method, f"/control/{page.key_}", headers=headers)
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_nothing_else_can_be_posted_and_the_token_is_in_no_page(page: Controlled) -> None:
    headers = {"x-crucible-control": page.token, "origin": str(page.client.base_url).rstrip("/")}
    for address in (
        "/",
        f"/runs/{page.key_}/",
        f"/data/{page.key_}",
        f"/runs/{page.key_}/control/x",
    ):
        assert page.client.post(address, headers=headers).status_code == 405
        assert page.token not in page.get(address).text


def test_the_token_is_not_in_the_arguments_of_any_process(page: Controlled) -> None:
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert page.token.encode() not in found.read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def test_without_control_there_is_nothing_to_post_to(viewer: Viewer) -> None:
    key = viewer.key("done/default")
    headers = {"x-crucible-control": "x", "origin": str(viewer.client.base_url).rstrip("/")}
    assert viewer.client.post(f"/control/{key}", headers=headers).status_code == 405
    assert "x-crucible-control" not in viewer.get(f"/runs/{key}/").text
