"""Plans that are divided into shards, from the command line: divided, run shard by shard, refused
in words.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.journal import Journal
from crucible_batch.runs.shard_notes import note_shards
from tests.harness.case_table import each_case
from tests.harness.commands import Cli, Done, running_sandbox
from tests.harness.forked_commands import forking_script
from tests.harness.shard_ground import state_of_shard

Report = Callable[[Path], dict[str, Any]]
CEILING = "{credits: 60, max_credits_per_job: 4}"
TWELVE = "- {name: fox, prompt: a fox, repeat: 12}"


@pytest.fixture
def own_cli(tmp_path: Path) -> Iterator[Cli]:
    """The command and a gateway of its own, so that the gateway's ledger has nothing else."""
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        yield Cli(tmp_path, url)


def plan_of(cli: Cli, name: str = "plan.json") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((cli.cwd / name).read_text(encoding="utf-8"))
    return document


def shard_dir(cli: Cli, number: int, name: str, plan: str = "plan.json") -> Path:
    document = plan_of(cli, plan)
    main = cli.cwd / f"outputs/{name}/default"
    return state_of_shard(main, document["digest"], number, len(document["shards"]))


def next_of(done: Done) -> str:
    (line,) = [line for line in done.out.splitlines() if line.startswith("  next ")]
    return line.split("next", 1)[1].strip()


def used_at(url: str | None) -> list[Decimal]:
    """The credits that the account has used or reserved after each row of the gateway's ledger."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        rows = json.load(answer, parse_float=Decimal)["ledger"]
    return [1000 - (Decimal(row["balance_after"]) - Decimal(row["reserved_after"])) for row in rows]


def divided(
    cli: Cli, name: str, jobs: str = TWELVE, *options: str, shards: int = 4, budget: str = CEILING
) -> None:
    cli.write(name, jobs, budget=budget)
    done = cli("plan", f"{name}.yaml", "--shards", str(shards), "-o", "plan.json", *options)
    assert done.code == 0, done.err


def test_four_shards_of_a_tight_budget_spend_at_most_their_allowances(
    own_cli: Cli, report_of: Report
) -> None:
    cli = own_cli
    divided(cli, "tight", budget="{credits: 22, max_credits_per_job: 4}")
    document = plan_of(cli)
    jsonschema.Draft202012Validator(json.loads(cli("schema", "--plan").out)).validate(document)
    allowances = [Decimal(shard["allowance"]) for shard in document["shards"]]
    assert sum(allowances) <= 22
    assert used_at(cli.url) == [0], "a plan spends nothing"
    spent = []
    for number in range(1, 5):
        done = cli("run", "plan.json", "--shard", f"{number}/4")
        report = report_of(shard_dir(cli, number, "tight"))
        assert report["shard"] == f"{number}/4"
        assert Decimal(report["credits"]["budget"]) == allowances[number - 1]
        spent.append(Decimal(report["credits"]["spent"]))
        assert spent[-1] <= allowances[number - 1]
        assert report["counts"]["succeeded"] >= document["shards"][number - 1]["admitted"]
        is_done = report["counts"]["succeeded"] == report["counts"]["total"]
        assert done.code == (0 if is_done else 4), done.err
        assert next_of(done) == (
            "crucible-batch merge outputs/tight/default   # once all shards have ended"
        )
    used = used_at(cli.url)
    assert used[-1] == sum(spent)
    assert max(used) <= 22


def test_a_plan_prints_commands_that_work_as_they_are(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cli.write("printed", "- {name: fox, prompt: a fox, repeat: 3}", budget=CEILING)
    done = cli("plan", "printed.yaml", "--shards", "2", "-o", "my plan.json")
    assert done.code == 0, done.err
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "crucible-batch run 'my plan.json' --shard 1/2" in lines["next"]
    loop = lines["or"].partition("or all")[2].strip()
    path = f"{Path(forking_script(tmp_path_factory.mktemp('bin'))).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", loop],
        check=False,
        cwd=cli.cwd,
        env={**cli.environment, "PATH": path},
        capture_output=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    assert [
        shard_dir(cli, n, "printed", "my plan.json").joinpath("report.json").is_file()
        for n in (1, 2)
    ] == [True] * 2
    table = [line.split() for line in done.out.splitlines() if re.match(r" +[12]/2 ", line)]
    assert table == [["1/2", "2", "2", "12"], ["2/2", "1", "1", "8"]]
    assert "  then      crucible-batch merge outputs/printed/default" in done.out


def test_a_plan_has_its_division_as_json(cli: Cli) -> None:
    cli.write("enveloped", budget=CEILING)
    done = cli("plan", "enveloped.yaml", "--shards", "2", "-o", "plan.json", "--json")
    division = done.envelope["data"]["division"]
    assert (division["count"], division["set_aside"]) == (2, "8")
    assert division["shards"][0] == {"shard": "1/2", "jobs": 1, "admitted": 1, "allowance": "8"}
    assert cli("plan", "enveloped.yaml", "--json").envelope["data"]["division"] is None


def test_shards_are_named_by_the_environment(cli: Cli, report_of: Report) -> None:
    divided(cli, "named-by", shards=4)
    done = cli("run", "plan.json", SLURM_ARRAY_TASK_ID="1")
    assert done.code == 0, done.err
    assert report_of(shard_dir(cli, 1, "named-by"))["shard"] == "1/4"
    dry = cli("run", "plan.json", "-n", CRUCIBLE_BATCH_SHARD="4/4")
    assert dry.code == 0, dry.err
    assert "3 jobs: 3 new" in dry.out
    assert not shard_dir(cli, 4, "named-by").exists()


def test_the_next_command_of_a_stopped_shard_names_the_shard(slow_cli: Cli) -> None:
    divided(slow_cli, "resumed", "- {name: fox, prompt: a fox, repeat: 2}", shards=2)
    done = slow_cli("run", "plan.json", "--deadline", "4s", CRUCIBLE_BATCH_SHARD="2/2")
    assert done.code == 5
    assert next_of(done) == "crucible-batch run plan.json --deadline 4s --shard 2/2"
    stopped = slow_cli("status", str(shard_dir(slow_cli, 2, "resumed")))
    assert "shard 2/2" in stopped.out


@pytest.fixture(scope="module")
def refused_cli(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Cli:
    """The command beside a divided plan, none of whose shards was run."""
    cli = Cli(tmp_path_factory.mktemp("refused"), gateway)
    divided(cli, "refused", shards=2)
    return cli


@each_case(
    "command, words",
    [
        (("run", "plan.json"), "is divided into 2 shards, and none was chosen"),
        (
            ("run", "plan.json", "--shard", "1/3"),
            "shard 1/3 is not one of plan.json, which has 2 shards",
        ),
        (("run", "refused.yaml", "--shard", "1/2"), "a manifest is not divided into shards"),
        (("run", "refused.yaml"), "are not merged yet: 1, 2 of 2, with 56 credits set aside"),
        (("run", "plan.json", "--shard", "1/2", "--budget", "90"), "was made with: --budget 60"),
        (("run", "plan.json", "--shard", "1/2", "--only", "fox-1"), "no --only"),
        (
            ("run", "plan.json", "--shard", "1/2", "--out-dir", "outputs/refused/default"),
            "a run that is not of a shard",
        ),
        (
            ("plan", "refused.yaml", "--shards", "3", "-o", "other.json"),
            "are not merged yet: 1, 2 of 2",
        ),
        (("plan", "refused.yaml", "--shards", "2"), "--shards needs a file for the plan"),
        (("plan", "refused.yaml", "--shards", "0", "-o", "p.json"), "greater than or equal to 1"),
        (("status", "outputs/refused/default"), "are not merged yet: 1, 2 of 2"),
    ],
)
def test_what_a_divided_plan_does_not_allow_is_refused(
    refused_cli: Cli, command: tuple[str, ...], words: str
) -> None:
    cli = refused_cli
    before = (cli.cwd / "plan.json").read_bytes()
    done = cli(*command)
    assert done.code == 2, done.out
    assert words in " ".join(done.err.split())
    assert not (cli.cwd / "outputs/refused/default/shards").exists()
    assert (cli.cwd / "plan.json").read_bytes() == before


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("", "a run without a budget can't be divided"),
        ("{credits: 3, max_credits_per_job: 4}", "no job can start"),
    ],
)
def test_a_plan_that_can_not_be_divided_leaves_nothing_behind(
    cli: Cli, budget: str, words: str
) -> None:
    cli.write("undivided", TWELVE, budget=budget)
    done = cli("plan", "undivided.yaml", "--shards", "2", "-o", "plan.json")
    assert done.code == 2, done.out
    assert words in " ".join(done.err.split())
    assert not (cli.cwd / "plan.json").exists()
    assert not (cli.cwd / "outputs").exists()


def test_a_plan_that_is_not_there_is_named_as_such(cli: Cli) -> None:
    done = cli("run", "no.json", "--shard", "1/2")
    assert done.code == 2
    assert "error USAGE: no.json can't be read: no such file or directory" in done.err
    assert "hint  give the file of the divided plan" in done.err


def test_each_shard_has_a_directory_of_its_own(cli: Cli) -> None:
    divided(cli, "apart", shards=2)
    assert cli("run", "plan.json", "--shard", "1/2", "--out-dir", "one", "-q").code == 0
    other = cli("run", "plan.json", "--shard", "2/2", "--out-dir", "one")
    assert other.code == 2
    assert "one is the directory of shard 1/2" in other.err
    assert cli("run", "apart.yaml", "--out-dir", "one").code == 2
    again = cli("run", "plan.json", "--shard", "1/2", "--out-dir", "one")
    assert (again.code, "0 spent by this run" in again.out) == (0, True)
    assert "crucible-batch merge outputs/apart/default" in again.out


def test_a_divided_plan_is_known_in_another_folder(cli: Cli) -> None:
    divided(cli, "afar", shards=2)
    other = cli.cwd / "other"
    other.mkdir()
    elsewhere = Cli(other, cli.url)
    for command in (
        ("run", "../afar.yaml"),
        ("plan", "../afar.yaml", "--shards", "2", "-o", "plan.json"),
    ):
        done = elsewhere(*command)
        assert done.code == 2
        assert "whose plan was divided into shards that are not merged yet" in " ".join(
            done.err.split()
        )
    assert not (other / "outputs").exists()


def test_a_shard_of_an_earlier_plan_is_not_run(cli: Cli) -> None:
    """Its allowance may have been returned. A plan of an earlier release stored nothing."""
    divided(cli, "merged", shards=2)
    main = cli.cwd / "outputs/merged/default"
    shutil.rmtree(main / ".crucible" / "shards")
    assert cli("run", "plan.json", "--shard", "2/2", "-q").code == 0
    with Journal.read(main) as journal:
        binding = journal.binding()
    with Journal.open(main, binding, now=0.0) as journal:
        note_shards(journal, OutstandingShards("0" * 64, {}))
    refused = cli("run", "plan.json", "--shard", "2/2")
    assert (refused.code, "was divided again" in refused.err) == (2, True)


def test_a_changed_manifest_is_refused(cli: Cli) -> None:
    divided(cli, "changed", shards=2)
    cli.write("changed", TWELVE.replace("a fox", "a wolf"), budget=CEILING)
    done = cli("run", "plan.json", "--shard", "1/2")
    assert done.code == 2
    assert "changed.yaml: content changed" in done.err
    assert "crucible-batch plan changed.yaml --shards 2 -o plan.json" in done.err
