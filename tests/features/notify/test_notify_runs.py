"""Notifications of complete runs: which messages, when, what they contain, and that the run does
not depend on them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch import run
from crucible_batch.errors import ConsentError, GatewayError, NotificationError, UserError
from crucible_batch.features.notify import part as notifying
from crucible_batch.journal import Journal
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings
from tests.features.notify.receiving import CANARY, Receiver, receiving

HAS_PAGES = True
ALL = "on: [success, partial, blocked, failure]"
HEART = f'notify: [{{{ALL}, heartbeat: "env:HEART"}}]\n'
SECRET = "whsec_c2VjcmV0LWtleS1vZi10aGUtd2ViaG9vay0wMQ=="


def listen(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    monkeypatch.setenv("HEART", f"{receiver.url}/{CANARY}")
    monkeypatch.setenv("HOOK", f"{receiver.url}/{CANARY}/hook")
    monkeypatch.setenv("SECRET", SECRET)


def paths(receiver: Receiver) -> list[str]:
    return [request.path.removeprefix(f"/{CANARY}") for request in receiver.requests]


def written(bench: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.path / "out" / "report.json").read_text())
    return found


HOOK = f'notify: [{{{ALL}, webhook: "env:HOOK", secret: "env:SECRET"}}]\n'


async def test_a_message_has_the_counts_and_the_credits_of_this_run(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench, receiving() as receiver:
        listen(monkeypatch, receiver)
        await bench.run(bench.manifest("{name: fox, prompt: a secret fox}", head=HOOK))
        await bench.run(
            bench.manifest(
                "{name: fox, prompt: a secret fox}\n{name: owl, prompt: an owl}", head=HOOK
            )
        )
    messages = [json.loads(request.body) for request in receiver.requests]
    assert [message["type"] for message in messages] == ["run.succeeded"] * 2
    ended = messages[1]["data"]
    assert (ended["counts"]["succeeded"], ended["exit_code"]) == (2, 0)
    assert ended["credits"] == {"budget": "100", "run": "2", "total": "4", "held": "0"}
    assert (ended["manifest"], ended["run_id"]) == ("trial", "default")
    assert ended["report"] == str(bench.path / "out" / "report.json")
    assert Path(ended["report"]).is_file()
    assert ended["next_command"] is None
    assert all(
        b"fox" not in request.body and b"prompt" not in request.body
        for request in receiver.requests
    )


# -- before the run begins


async def refused(
    manifest: Path, receiver: Receiver, error: type[Exception], **options: Any
) -> dict[str, Any]:
    """Run, expect the error, and return the only message."""
    with pytest.raises(error):
        await run(manifest, **options)
    (request,) = receiver.requests
    message: dict[str, Any] = json.loads(request.body)
    assert message["type"] == "run.failed"
    return message["data"]


async def test_a_missing_key_an_unreachable_gateway_and_a_plan_error_are_notified(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = {"budget": 5}
    async with start() as bench:
        options = {"out_dir": bench.path / "out", **out}
        manifest = bench.manifest("{name: fox, prompt: a fox}", head=HOOK)
        async with receiving() as receiver:
            listen(monkeypatch, receiver)
            data = await refused(
                manifest, receiver, GatewayError, settings=Settings(api_key=None), **options
            )
            assert (data["exit_code"], data["error_codes"]) == (3, ["NO_API_KEY"])
            assert data["next_command"] == "crucible-batch explain NO_API_KEY"
            assert (data["run_id"], data["counts"], data["report"]) == ("default", None, None)
        async with receiving() as receiver:
            listen(monkeypatch, receiver)
            nowhere = Settings(api_key="moltazine_x", base_url="http://127.0.0.1:9")
            data = await refused(
                manifest, receiver, GatewayError, settings=nowhere, wait_for_gateway_s=0, **options
            )
            assert (data["exit_code"], data["error_codes"]) == (5, ["NO_ANSWER"])
        async with receiving() as receiver:
            listen(monkeypatch, receiver)
            broken = bench.manifest("{name: fox, prompt: '@missing.txt'}", head=HOOK)
            data = await refused(broken, receiver, UserError, settings=bench.settings, **options)
            assert (data["exit_code"], data["error_codes"]) == (2, ["INVALID_MANIFEST"])
        async with receiving() as receiver:
            listen(monkeypatch, receiver)
            manifest = bench.manifest("{name: fox, prompt: a fox}", head=HOOK)
            data = await refused(
                manifest, receiver, UserError, settings=bench.settings, run_id="a/b", **options
            )
            assert (data["exit_code"], data["run_id"]) == (2, None)
        assert (await bench.state())["audit"]["spent_on_jobs"] == 0


async def test_an_unexpected_error_and_a_cancellation_are_notified(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        manifest = bench.manifest("{name: fox, prompt: a fox}", head=HOOK)
        options = {"settings": bench.settings, "out_dir": bench.path / "out"}
        for error, expected in (
            (RuntimeError(CANARY), (70, ["BUG"])),
            (OSError(28, CANARY), (5, ["DISK"])),
            (MemoryError(CANARY), (5, ["OUT_OF_RESOURCES"])),
            (KeyboardInterrupt(), (130, ["INTERRUPTED"])),
            (asyncio.CancelledError(), (143, ["INTERRUPTED"])),
            (SystemExit(143), (143, ["INTERRUPTED"])),
        ):
            async with receiving() as receiver:
                listen(monkeypatch, receiver)
                notices = notifying.RunNotices(
                    api.validate(manifest)[0],
                    RunRequest(manifest),
                    bench.settings,
                    bench.clock,
                    can_ask=False,
                )
                with pytest.raises(type(error)):
                    async with notices:
                        raise error
                data = json.loads(receiver.requests[0].body)["data"]
                assert (data["exit_code"], data["error_codes"]) == expected
        assert options["out_dir"] == bench.path / "out"


async def test_a_person_who_declines_is_not_notified(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench, receiving() as receiver:
        listen(monkeypatch, receiver)
        manifest = bench.manifest("{name: fox, prompt: a fox}", budget=None, head=HOOK)
        with pytest.raises(ConsentError):
            await bench.run(manifest, confirm=lambda _: False)
        assert receiver.requests == []
        with pytest.raises(ConsentError):
            await bench.run(manifest)
        assert len(receiver.requests) == 1


# -- what can't be used


async def test_a_run_is_refused_before_anything_is_spent_and_the_other_channels_learn_of_it(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = '{on: [failure], heartbeat: "env:UNSET_HEART"}'
    usable = '{on: [failure], webhook: "env:HOOK", secret: "env:SECRET"}'
    head = f"notify: [{unset}, {usable}]\n"
    async with start() as bench, receiving() as receiver:
        listen(monkeypatch, receiver)
        manifest = bench.manifest("{name: fox, prompt: a fox}", head=head)
        with pytest.raises(
            NotificationError, match="env:UNSET_HEART: the variable is not set"
        ) as caught:
            await bench.run(manifest)
        assert caught.value.exit_code == 2
        data = json.loads(receiver.requests[0].body)["data"]
        assert data["error_codes"] == ["INVALID_NOTIFICATION"]
        assert (await bench.state())["audit"]["spent_on_jobs"] == 0
        assert not (bench.path / "out").exists()
        summary = await api.plan(manifest, settings=bench.settings, out_dir=bench.path / "out")
        assert (
            "run would refuse notify[0]: env:UNSET_HEART: the variable is not set" in summary.notes
        )
        assert (await bench.run(manifest, notify=False)).ok


# -- failures and kills


async def test_a_run_that_is_killed_while_it_notifies_is_complete_and_the_next_one_notifies_itself(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise KilledError

    async with start() as bench, receiving() as receiver:
        listen(monkeypatch, receiver)
        manifest = bench.manifest("{name: fox, prompt: a fox}", head=HEART)
        with monkeypatch.context() as patch:
            patch.setattr(notifying.RunNotices, "end", kill)
            with pytest.raises(KilledError):
                await bench.run(manifest)
        assert written(bench)["status"] == "succeeded"
        sent = len(receiver.requests)
        assert (await bench.run(manifest)).ok
        assert paths(receiver)[sent:] == ["/0"]
        with Journal.read(bench.path / "out") as journal:
            assert len(journal.runs()) == 2
    assert written(bench)["credits"]["spent"] == "2"
