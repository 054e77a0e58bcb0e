"""``sandbox --judge`` and a client's command: the verdict, and the exit code."""

import json
import signal
import sys
import urllib.request
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pytest

from tests.harness.commands import Cli, Done

CLIENT = """\
import json, os, sys, time, urllib.request, uuid
base, key = os.environ["CRUCIBLE_API_BASE"], os.environ["MOLTAZINE_API_KEY"]
headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
body = {"workflow_id": "zimage-base", "params": {"prompt.text": "a \\x1b[31mfox"}}
for _ in range(int(sys.argv[1])):
    body["idempotency_key"] = uuid.uuid4().hex
    request = urllib.request.Request(base + "/api/v1/generate", json.dumps(body).encode(), headers)
    job = json.load(urllib.request.urlopen(request))["data"]
request = urllib.request.Request(base + "/api/v1/jobs/" + job["job_id"], headers=headers)
urllib.request.urlopen(json.load(urllib.request.urlopen(request))["data"]["outputs"][0]["url"])
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def judged(lonely_cli: Cli) -> Any:
    """Run a client that buys the same picture so often, downloads the last, and ends so."""
    (lonely_cli.cwd / "client.py").write_text(CLIENT, encoding="utf-8")

    def run(times: int, code: int, *options: str) -> Done:
        sandbox = ("sandbox", "--time-scale", "0", "--judge", *options, "--")
        return lonely_cli(*sandbox, sys.executable, "client.py", str(times), str(code))

    return run


def test_a_client_that_buys_once_ends_with_its_own_code(judged: Any) -> None:
    for code in (0, 9):
        done = judged(1, code, "--budget", "2")
        assert (done.code, done.out) == (code, "")
        assert "✓ nothing was bought twice, and the budget of 2 was kept" in done.err
    assert "the client ended with 9" in done.err


def test_a_client_that_buys_twice_or_too_much_ends_with_1(judged: Any) -> None:
    twice = judged(2, 0)
    assert twice.code == 1
    assert "✗ bought twice: " in twice.err
    assert "2 times, downloaded 1 (2 credits)" in twice.err
    assert "\x1b" not in twice.err
    over = judged(1, 9, "--budget", "1.5")
    assert over.code == 1
    assert "✗ over budget: 2 credits were charged or reserved" in over.err
    assert "✓" not in twice.err + over.err


def test_many_records_are_cut(judged: Any) -> None:
    done = judged(13, 0)
    assert done.err.count("\n    job ") == 10
    assert "… and 3 more" in done.err


def test_crucible_batch_itself_buys_nothing_twice(lonely_cli: Cli) -> None:
    name = lonely_cli.write("judged", "- {name: fox, prompt: a fox, repeat: 6}", budget="")
    faults = "500-after:0.2,drop-after:0.1,html:0.1,fail:0.2,short-body:0.2"
    options = ("--time-scale", "0", "--faults", faults, "--judge", "--budget", "12")
    command = str(Path(sys.executable).with_name("crucible-batch"))
    done = lonely_cli("sandbox", *options, "--", command, "run", name, "--budget", "12")
    assert done.code == 0, done.err
    assert "the budget of 12 was kept" in done.err
    assert "! equal jobs: " in done.err


@pytest.mark.parametrize("bought", [0, 2])
def test_without_a_command_the_verdict_comes_with_ctrl_c(lonely_cli: Cli, bought: int) -> None:
    options = ("--time-scale", "0", "--judge", "--once")
    process = lonely_cli.start("sandbox", *options, stderr=PIPE)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip().partition("=")[2] for _ in range(2)]
    key, url = lines
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    for number in range(bought):
        body = {"workflow_id": "zimage-base", "params": {}, "idempotency_key": f"k{number}"}
        data = json.dumps(body).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/generate", data, headers))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (1 if bought else 0)
    assert ("✗ bought twice" if bought else "! nothing was bought") in err


def test_sigterm_ends_the_client_and_then_the_sandbox(lonely_cli: Cli) -> None:
    waits = "import sys, time; print('began', flush=True); time.sleep(600)"
    process = lonely_cli.start(
        "sandbox", "--judge", "--", sys.executable, "-c", waits, stderr=DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (("--budget", "3"), "add --judge"),
        (("--once",), "add --judge"),
        (("--judge", "--state", "s.db"), "remove --judge or --state"),
        (("--judge", "--", "no-such-program"), "no-such-program"),
    ],
)
def test_what_can_not_be_judged_is_refused(
    lonely_cli: Cli, words: tuple[str, ...], about: str
) -> None:
    refused = lonely_cli("sandbox", *words)
    assert (refused.code, about in refused.err) == (2, True)
    assert not (lonely_cli.cwd / "s.db").exists()
