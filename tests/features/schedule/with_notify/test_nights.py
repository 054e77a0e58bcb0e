"""A night: an outage before the first purchase, a run that did not start, and what cron mails of
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.notify.test_notify_command import SECRET, Receiver, receiving
from tests.harness.commands import Cli, Done, answering

NIGHTLY = 'run_id: "{{ date }}"\nschedule: {cron: "20 1 * * *"}\n'
AT = "2026-11-26T01:20:00Z"


INTERNAL = (
    b'{"success": false, "code": "INTERNAL_ERROR", '
    b'"error": "Something went wrong inside the gateway."}'
)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Cli]:
    """A command whose gateway answers 500 to everything."""
    with answering(500, body=INTERNAL) as url:
        yield Cli(tmp_path, url)


def night(cli: Cli, manifest: str, *options: str, **environment: str) -> Done:
    words = ("run", manifest, "--scheduled-at", AT, "--wait-for-gateway", "0", *options)
    return cli(*words, **environment)


def test_a_night_that_did_not_start_is_a_line_in_runs(broken: Cli) -> None:
    assert night(broken, broken.write("nightly", head=NIGHTLY)).code == 5
    listed = broken("status")
    assert listed.code == 0
    (line,) = [line for line in listed.out.splitlines() if "did not start" in line]
    assert "nightly/2026-11-26" in line or "nightly" in line
    assert "01:20" in listed.out
    assert "INTERNAL_ERROR" in listed.out
    assert "run nightly.yaml" in listed.out  # what to do next


def test_the_line_of_a_night_that_did_not_start_goes_when_it_has_run(
    broken: Cli, gateway: str
) -> None:
    night(broken, broken.write("nightly", head=NIGHTLY))
    assert "did not start" in broken("status").out
    working = Cli(broken.cwd, gateway)
    done = night(working, "nightly.yaml")
    assert done.code == 0, done.err
    listed = working("status").out
    assert "did not start" not in listed
    assert "nightly/2026-11-26" in listed


def _messages(receiver: Receiver) -> list[dict[str, object]]:
    return [json.loads(body)["data"] for _, _, body in receiver.requests]


def test_a_notification_of_a_run_that_did_not_start_names_no_directory_that_does_not_exist(
    broken: Cli,
) -> None:
    hook = 'notify: [{on: [failure], webhook: "env:HOOK", secret: "env:SECRET"}]\n'
    with receiving() as receiver:
        done = night(
            broken, broken.write("told", head=NIGHTLY + hook), HOOK=receiver.url, SECRET=SECRET
        )
        assert done.code == 5
        (data,) = _messages(receiver)
    for name in ("run_dir", "report"):
        path = data[name]
        assert path is None or Path(str(path)).exists(), name
    assert (data["manifest"], data["run_id"], data["exit_code"]) == ("told", "2026-11-26", 5)


def _mail(done: Done) -> list[str]:
    """What cron mails: all that a command prints."""
    return (done.out + done.err).splitlines()


def _assert_short_mail(lines: list[str], name: str, code: str) -> None:
    assert 1 <= len(lines) <= 6, lines
    text = "\n".join(lines)
    assert name in text
    assert "2026-11-26" in text  # the run id
    assert "01:20" in text  # the scheduled time
    assert code in text
    assert all(len(line) <= 400 for line in lines)


def test_the_mail_of_a_night_that_did_not_start_has_manifest_run_id_and_scheduled_time(
    broken: Cli,
) -> None:
    done = night(broken, broken.write("nightly", head=NIGHTLY), "--quiet", "--if-running", "skip")
    assert done.code == 5
    _assert_short_mail(_mail(done), "nightly", "INTERNAL_ERROR")


@pytest.mark.parametrize(
    ("name", "jobs", "budget", "exit_code", "code"),
    [
        ("poor", "- {name: fox, prompt: a fox, repeat: 3}", "{credits: 3}", 4, "BUDGET_EXHAUSTED"),
        (
            "bad",
            "- {name: fox, prompt: nsfw}\n- {name: owl, prompt: an owl}",
            "{credits: 9}",
            1,
            "MODERATION_REFUSED",
        ),
    ],
)
def test_the_mail_of_a_night_that_failed_is_short_too(
    cli: Cli, name: str, jobs: str, budget: str, exit_code: int, code: str
) -> None:
    done = night(
        cli, cli.write(name, jobs, budget=budget, head=NIGHTLY), "--quiet", "--if-running", "skip"
    )
    assert done.code == exit_code
    _assert_short_mail(_mail(done), name, code)
