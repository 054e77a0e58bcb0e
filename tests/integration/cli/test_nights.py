"""A night: an outage before the first purchase, a run that did not start, and what cron mails of it."""

from __future__ import annotations

import http.server
import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cli, Done
from tests.integration.cli.test_notify import SECRET, Receiver, receiving

NIGHTLY = 'run_id: "{{ date }}"\nschedule: {cron: "20 1 * * *"}\n'
AT = "2026-11-26T01:20:00Z"


@contextmanager
def failing(status: int, body: bytes, content_type: str) -> Iterator[str]:
    """A gateway that answers each request with this error."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


INTERNAL = b'{"success": false, "code": "INTERNAL_ERROR", "error": "Something went wrong inside the gateway."}'


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Cli]:
    """A command whose gateway answers 500 to everything."""
    with failing(500, INTERNAL, "application/json") as url:
        yield Cli(tmp_path, url)


def night(cli: Cli, manifest: str, *options: str, **environment: str) -> Done:
    words = ("run", manifest, "--scheduled-at", AT, "--wait-for-gateway", "0", *options)
    return cli(*words, **environment)


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (500, INTERNAL, "application/json"),
        pytest.param(503, b"<h1>busy</h1>", "text/html", marks=pytest.mark.slow),
        pytest.param(500, b"", "text/plain", marks=pytest.mark.slow),
    ],
    ids=["500", "a page", "an empty 500"],
)
def test_a_gateway_that_answers_with_errors_before_the_first_purchase_is_an_outage(
    tmp_path: Path, status: int, body: bytes, content_type: str
) -> None:
    """It is waited for and reported as one that is silent; forks report an outage after half a second."""
    with failing(status, body, content_type) as url:
        cli = Cli(tmp_path, url)
        done = cli("run", cli.write("dark"), "--wait-for-gateway", "10m", "--deadline", "3s", "--json")
    assert done.code == 5, done.err
    assert "gateway_unreachable" in {line["type"] for line in done.lines}
    assert done.envelope["error"]["code"] == "DEADLINE"


def test_a_night_that_did_not_start_is_a_line_in_runs(broken: Cli) -> None:
    assert night(broken, broken.write("nightly", head=NIGHTLY)).code == 5
    listed = broken("status")
    assert listed.code == 0
    (line,) = [line for line in listed.out.splitlines() if "did not start" in line]
    assert "nightly/2026-11-26" in line or "nightly" in line
    assert "01:20" in listed.out
    assert "INTERNAL_ERROR" in listed.out
    assert "run nightly.yaml" in listed.out  # what to do next


def test_a_night_that_did_not_start_is_in_the_json_of_runs(broken: Cli) -> None:
    night(broken, broken.write("nightly", head=NIGHTLY))
    (run,) = broken("status", "--json").envelope["data"]["runs"]
    assert run["state"] not in {"done", "running", "killed", "unreadable"}
    assert (run["name"], run["run_id"]) == ("nightly", "2026-11-26")
    assert run["error"]["code"] == "INTERNAL_ERROR"


def test_the_line_of_a_night_that_did_not_start_goes_when_it_has_run(broken: Cli, gateway: str) -> None:
    night(broken, broken.write("nightly", head=NIGHTLY))
    assert "did not start" in broken("status").out
    working = Cli(broken.cwd, gateway)
    done = night(working, "nightly.yaml")
    assert done.code == 0, done.err
    listed = working("status").out
    assert "did not start" not in listed
    assert "nightly/2026-11-26" in listed


def test_a_night_that_did_not_start_does_not_hide_the_runs_that_did(broken: Cli, gateway: str) -> None:
    working = Cli(broken.cwd, gateway)
    manifest = broken.write("nightly", head=NIGHTLY)
    assert working("run", manifest, "--scheduled-at", "2026-11-25T01:20:00Z").code == 0
    night(broken, manifest)
    listed = broken("status")
    assert "nightly/2026-11-25" in listed.out
    assert "did not start" in listed.out
    assert broken("status").code == 0


def _messages(receiver: Receiver) -> list[dict[str, object]]:
    return [json.loads(body)["data"] for _, _, body in receiver.requests]


def test_a_notification_of_a_run_that_did_not_start_names_no_directory_that_does_not_exist(broken: Cli) -> None:
    hook = 'notify: [{on: [failure], webhook: "env:HOOK", secret: "env:SECRET"}]\n'
    with receiving() as receiver:
        done = night(broken, broken.write("told", head=NIGHTLY + hook), HOOK=receiver.url, SECRET=SECRET)
        assert done.code == 5
        (data,) = _messages(receiver)
    for name in ("run_dir", "report"):
        path = data[name]
        assert path is None or Path(str(path)).exists(), name
    assert (data["manifest"], data["run_id"], data["exit_code"]) == ("told", "2026-11-26", 5)


def test_a_notification_of_a_run_that_has_a_directory_names_it(cli: Cli) -> None:
    hook = 'notify: [{on: [success], webhook: "env:HOOK", secret: "env:SECRET"}]\n'
    with receiving() as receiver:
        assert night(cli, cli.write("told-well", head=NIGHTLY + hook), HOOK=receiver.url, SECRET=SECRET).code == 0
        (data,) = _messages(receiver)
    assert Path(str(data["run_dir"])).is_dir()
    assert Path(str(data["report"])).is_file()


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


def test_the_mail_of_a_night_that_did_not_start_has_manifest_run_id_and_scheduled_time(broken: Cli) -> None:
    done = night(broken, broken.write("nightly", head=NIGHTLY), "--quiet", "--if-running", "skip")
    assert done.code == 5
    _assert_short_mail(_mail(done), "nightly", "INTERNAL_ERROR")


@pytest.mark.parametrize(
    ("name", "jobs", "budget", "exit_code", "code"),
    [
        ("poor", "- {name: fox, prompt: a fox, repeat: 3}", "{credits: 3}", 4, "BUDGET_EXHAUSTED"),
        ("bad", "- {name: fox, prompt: nsfw}\n- {name: owl, prompt: an owl}", "{credits: 9}", 1, "MODERATION_REFUSED"),
    ],
)
def test_the_mail_of_a_night_that_failed_is_short_too(
    cli: Cli, name: str, jobs: str, budget: str, exit_code: int, code: str
) -> None:
    done = night(cli, cli.write(name, jobs, budget=budget, head=NIGHTLY), "--quiet", "--if-running", "skip")
    assert done.code == exit_code
    _assert_short_mail(_mail(done), name, code)


def test_the_mail_of_a_faulty_manifest_names_the_night(cli: Cli) -> None:
    manifest = cli.write("orders", '- {name: a, foreach: "orders-{{ date }}.csv", prompt: "{{ row.t }}"}', head=NIGHTLY)
    done = night(cli, manifest, "--quiet", "--if-running", "skip")
    assert done.code == 2
    _assert_short_mail(_mail(done), "orders", "INVALID_MANIFEST")


def test_a_night_that_went_well_is_no_mail(cli: Cli) -> None:
    done = night(cli, cli.write("well", head=NIGHTLY), "--quiet", "--if-running", "skip")
    assert (done.code, _mail(done)) == (0, [])


def test_the_line_of_cron_makes_such_a_mail(broken: Cli) -> None:
    """The exported line has no scheduled time: the run finds it."""
    broken.write("nightly", head=NIGHTLY)
    exported = broken("schedule", "export", "nightly.yaml", "--to", "cron", "-o", "cron")
    assert exported.code == 0, exported.err
    (path,) = (broken.cwd / "cron").iterdir()
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("20 1 ")]
    words = shlex.split(line.partition("crucible-batch ")[2])
    done = broken(*words, "--wait-for-gateway", "0")
    assert done.code == 5
    lines = _mail(done)
    assert 1 <= len(lines) <= 6, lines
    assert "nightly" in "\n".join(lines)
    assert "01:20" in "\n".join(lines)
