"""``plan --probe`` from the command line: shown as a run, then a plan; or no plan, and the exit
code of a run.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from tests.harness.commands import Cli

JOBS = """\
- {name: fox, prompt: a fox, repeat: 3}
- name: edit
  prompt: "edit {{ n }}"
  workflow: qwen-edit
  image: "{{ n }}.png"
  matrix: {n: [0, 1, 2]}
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
    found: list[dict[str, Any]] = json.loads((cli.cwd / "plan.json").read_text(encoding="utf-8"))[
        "shards"
    ]
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
    again = cli(
        *probe("probed")
    )  # until the shards are merged, nothing is spent, and the plan stays as it is
    assert (again.code, "succeeded" in again.err) == (0, False), again.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "plan.json"), "add --shards N"),
        (("--shards", "2"), "name one: -o plan.json"),
        (("--shards", "2", "-o", "wrong.yaml"), "is the manifest itself"),
        (("--shards", "2", "-o", "plan.json", "--retry-failed"), "--retry-failed"),
    ],
)
def test_a_probe_whose_plan_could_not_be_made_spends_nothing(
    cli: Cli, arguments: tuple[str, ...], words: str
) -> None:
    write(cli, "wrong")
    done = cli("plan", "wrong.yaml", "--probe", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not (cli.cwd / "outputs").exists()


def test_a_budget_that_is_too_small_ends_the_probe_with_the_command_that_is_enough(
    cli: Cli,
) -> None:
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
