"""``plan --probe`` from the command line: shown as a run, then a plan; or no plan, and the exit code of a run."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crucible_batch.journal import Journal

from .conftest import Cli, running_sandbox
from .test_json import check_stream
from .test_saved_plan import judged

JOBS = """\
- {name: fox, prompt: a fox, repeat: 3}
- {name: edit, prompt: "edit {{ n }}", workflow: qwen-edit, image: "{{ n }}.png", matrix: {n: [0, 1, 2]}}
"""


MAXIMA = "{credits: 60, max_credits_per_job: 8, max_credits_per_upload: 1}"


def write(cli: Cli, name: str, *, budget: str = MAXIMA, head: str = "") -> str:
    for number in range(3):
        colour = (number * 50, len(name), sum(map(ord, name)) % 256)
        Image.new("RGB", (8, 8), colour).save(cli.cwd / f"{number}.png")
    return cli.write(name, JOBS, budget=budget, head=head)


def probe(name: str, *more: str) -> tuple[str, ...]:
    return ("plan", f"{name}.yaml", "--shards", "2", "--probe", "-o", "plan.json", *more)


def shards_of(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((cli.cwd / "plan.json").read_text(encoding="utf-8"))["shards"]
    return found


def test_a_probe_is_shown_as_a_run_and_then_the_plan_is_shown(cli: Cli) -> None:
    write(cli, "probed")
    done = cli(*probe("probed"))
    assert done.code == 0, done.err
    assert "2/2  2 succeeded" in done.err
    assert "0 to upload, 2 there already" in done.out
    assert [shard["jobs"] for shard in shards_of(cli)] == [2, 2]
    for number in (1, 2):
        assert cli("run", "plan.json", "--shard", f"{number}/2", "-q").code == 0
    again = cli(*probe("probed"))  # until the shards are merged, nothing is spent, and the plan stays as it is
    assert (again.code, "succeeded" in again.err) == (0, False), again.err


def test_a_probe_is_told_event_by_event_and_its_result_is_the_plan(cli: Cli) -> None:
    write(cli, "told-probe")
    done = cli(*probe("told-probe", "--json"))
    assert done.code == 0, done.err
    data = check_stream(done, "plan")["data"]
    runs = [line["type"] for line in done.lines if line["type"].startswith("run_")]
    assert runs == 3 * ["run_began", "run_ended"]  # what is left of earlier runs, the prices, the images
    assert data["states"] == {"new": 4, "in_flight": 0, "failed": 0, "done": 2}
    prepared = [line["event"] for line in done.lines if line.get("name") == "edit-1"]
    assert prepared == ["held", "hold_released"]


def test_nothing_is_shown_of_a_quiet_probe(cli: Cli) -> None:
    write(cli, "quiet-probe")
    done = cli(*probe("quiet-probe", "-q"))
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "plan.json"), "add --shards N"),
        (("--shards", "2"), "name one: -o plan.json"),
        (("--shards", "2", "-o", "wrong.yaml"), "is the manifest itself"),
        (("--shards", "2", "-o", "plan.json", "--retry-failed"), "--retry-failed"),
    ],
)
def test_a_probe_whose_plan_could_not_be_made_spends_nothing(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    write(cli, "wrong")
    done = cli("plan", "wrong.yaml", "--probe", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not (cli.cwd / "outputs").exists()


def test_a_budget_that_is_too_small_ends_the_probe_with_the_command_that_is_enough(cli: Cli) -> None:
    write(cli, "poor", budget="{credits: 4, max_credits_per_job: 3, max_credits_per_upload: 1}")
    done = cli(*probe("poor"))
    assert done.code == 4
    assert not (cli.cwd / "plan.json").exists()
    (line,) = [line for line in done.out.splitlines() if line.split()[:1] == ["next"]]
    command = line.split("crucible-batch ", 1)[1].split()
    assert command[:2] == ["plan", "poor.yaml"]
    again = cli(*command)
    assert again.code == 0, again.err
    assert shards_of(cli)


def test_the_deadline_of_the_manifest_ends_a_probe_and_the_same_command_continues(tmp_path: Path) -> None:
    with running_sandbox("--time-scale", "60", "--runners", "1") as url:
        slow = Cli(tmp_path, url)
        write(slow, "late", head="deadline: 4s\n")
        done = slow(*probe("late"))
        assert done.code == 5, done.err
        assert "plan late.yaml --shards 2 --probe -o plan.json" in done.out
        assert not (tmp_path / "plan.json").exists()
        with Journal.read(tmp_path / "outputs/late/default") as journal:
            assert journal.newest_gateway_job() is not None


def test_ctrl_c_ends_a_probe_and_the_same_command_buys_nothing_twice(tmp_path: Path) -> None:
    with running_sandbox("--time-scale", "1") as url:
        some = Cli(tmp_path, url)
        write(some, "stopped")
        process = some.start(*probe("stopped", "--json"))
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("event") == "accepted":
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=240)
        assert process.returncode == 130, err
        assert json.loads(out.splitlines()[-1])["exit_code"] == 130
        assert not (tmp_path / "plan.json").exists()
        assert some(*probe("stopped", "-q")).code == 0
        state = judged(url)
    assert len(state["jobs"]) == 2
    assert sum(asset["deleted_at"] is None for asset in state["assets"]) == 3
