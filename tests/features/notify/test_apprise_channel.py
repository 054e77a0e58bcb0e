"""Apprise as a channel: sent in a thread, to a server of Apprise's own JSON service; nothing of the
URL is shown.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import threading

import pytest

from crucible_batch.features.notify import apprise_channel
from crucible_batch.features.notify.apprise_channel import AppriseUrl, is_installed
from crucible_batch.features.notify.http_channels import SendError
from crucible_batch.secret_text import HiddenText
from tests.features.notify.receiving import CANARY, HANG, answer, message, receiving

# An import of Apprise, or of what it uses.
pytestmark = pytest.mark.filterwarnings("ignore:'?(imghdr|pipes|cgi)'?:DeprecationWarning")


def url_of(url: str) -> HiddenText:
    return HiddenText(f"json://user:{CANARY}@{url.removeprefix('http://')}/{CANARY}")


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    loggers = [logging.getLogger(name) for name in ("apprise", "urllib3", "requests")]
    before = [(log.propagate, list(log.handlers)) for log in loggers]
    # To a logger that does not propagate, pytest attaches the handler of caplog.
    for log in loggers:
        log.propagate = True
    yield
    for log, (propagate, handlers) in zip(loggers, before, strict=True):
        log.propagate, log.handlers = propagate, handlers


async def test_it_has_the_title_the_text_and_the_kind() -> None:
    async with receiving() as receiver:
        await AppriseUrl("env:X", url_of(receiver.url)).send(message())
    body = json.loads(receiver.requests[0].body)
    assert body["title"] == "crucible-batch: spring · night-1 finished, some jobs failed (exit 1)"
    assert body["message"].startswith("jobs     7 in total, 6 succeeded, 1 failed\n")
    assert body["type"] == "warning"


async def test_a_refusal_is_a_failure_without_the_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving(answer("500 X")) as receiver:
        with pytest.raises(SendError, match=r"^Apprise could not deliver it$") as caught:
            await AppriseUrl("env:X", url_of(receiver.url)).send(message())
    assert not caught.value.is_final
    assert CANARY not in caplog.text


async def test_an_exception_of_a_service_is_a_failure_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(apprise_channel, "_send", fail)
    with pytest.raises(SendError) as caught:
        await AppriseUrl("env:X", HiddenText("json://a.test")).send(message())
    assert CANARY not in str(caught.value)


async def test_a_service_that_does_not_answer_is_not_waited_for() -> None:
    async with receiving(HANG) as receiver:
        with pytest.raises(SendError, match="no result within 0 s"):
            await AppriseUrl("env:X", url_of(receiver.url), timeout_s=0.2).send(message())
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "apprise")


def test_whether_it_is_installed_is_found_without_loading_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not is_installed()


def test_it_is_loaded_on_first_use_only() -> None:
    import subprocess

    program = (
        "import sys, crucible_batch.features.notify.subscriptions; print('apprise' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
