"""Plans that are divided into shards, from the command line: divided, run shard by shard, refused in words."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crucible_batch.api.shards.note import note_shards, noted_shard, noted_shards
from crucible_batch.domain.saved_plan import PlanAccount
from crucible_batch.domain.sharding import OutstandingShards, ShardId, ShardOf
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.saved_plan import read_saved_plan, write_saved_plan
from tests.case_table import each_case
from tests.preloaded import forking_script

from .conftest import Cli, running_sandbox

Report = Callable[[Path], dict[str, Any]]
CEILING = "{credits: 60, max_credits_per_job: 4}"
TWELVE = "- {name: fox, prompt: a fox, repeat: 12}"
IMAGES = "\n".join(
    f'- {{name: edit-{n}, prompt: at night {n}, workflow: qwen-edit, image: "{name}.png"}}'
    for n, name in enumerate("abab", 1)
)


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
    return cli.cwd / f"outputs/{name}/default/shards/{document['digest'][:8]}/{number}-of-{len(document['shards'])}"


def used_at(url: str | None) -> list[Decimal]:
    """The credits that the account has used or reserved after each row of the gateway's own ledger."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        rows = json.load(answer, parse_float=Decimal)["ledger"]
    return [1000 - (Decimal(row["balance_after"]) - Decimal(row["reserved_after"])) for row in rows]


def divided(cli: Cli, name: str, jobs: str = TWELVE, *options: str, shards: int = 4, budget: str = CEILING) -> None:
    cli.write(name, jobs, budget=budget)
    done = cli("plan", f"{name}.yaml", "--shards", str(shards), "-o", "plan.json", *options)
    assert done.code == 0, done.err


def test_four_shards_of_a_tight_budget_spend_at_most_their_allowances(own_cli: Cli, report_of: Report) -> None:
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
        assert done.out.splitlines()[-1].split("next")[-1].strip() == (
            "crucible-batch merge outputs/tight/default   # once all shards have ended"
        )
    used = used_at(cli.url)
    assert used[-1] == sum(spent)
    assert max(used) <= 22


def test_a_shard_has_its_jobs_with_the_keys_and_paths_of_the_whole_run(cli: Cli, report_of: Report) -> None:
    """Position, prompt, axes, table row and output are those of a run on one machine, and the table isn't read."""
    (cli.cwd / "rows.csv").write_text("title,color\nboat,red\nhouse,blue\n", encoding="utf-8")
    jobs = (
        '- {name: "x-{{ row.title }}", foreach: rows.csv, matrix: {style: [ink, oil]},'
        ' prompt: "{{ row.color }} {{ row.title }} in {{ style }}"}'
    )
    divided(cli, "whole", jobs, shards=2)
    (cli.cwd / "rows.csv").unlink()
    assert cli("run", "plan.json", "--shard", "2/2", "-q").code == 0
    part = report_of(shard_dir(cli, 2, "whole"))
    (cli.cwd / "rows.csv").write_text("title,color\nboat,red\nhouse,blue\n", encoding="utf-8")
    assert cli("run", "whole.yaml", "--out-dir", "elsewhere", "-q").code == 0
    whole = report_of(cli.cwd / "elsewhere")
    known = {row["name"]: row for row in whole["jobs"]}
    assert [row["name"] for row in part["jobs"]] == [row["name"] for row in whole["jobs"]][1::2]
    for row in part["jobs"]:
        other = known[row["name"]]
        for key in ("idempotency_key", "prompt", "params", "axes", "row", "repeat", "workflow_id"):
            assert row[key] == other[key]
        assert [output["path"] for output in row["outputs"]] == [output["path"] for output in other["outputs"]]
        assert row["job_id"] == other["job_id"], "the whole run found the shard's job at the gateway"


def test_a_plan_prints_commands_that_work_as_they_are(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
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
    assert [shard_dir(cli, n, "printed", "my plan.json").joinpath("report.json").is_file() for n in (1, 2)] == [
        True
    ] * 2
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
    for number, variable in enumerate(
        ({"SLURM_ARRAY_TASK_ID": "1"}, {"JOB_COMPLETION_INDEX": "1"}, {"AWS_BATCH_JOB_ARRAY_INDEX": "2"}), 1
    ):
        done = cli("run", "plan.json", **variable)
        assert done.code == 0, done.err
        assert report_of(shard_dir(cli, number, "named-by"))["shard"] == f"{number}/4"
    dry = cli("run", "plan.json", "-n", CRUCIBLE_BATCH_SHARD="4/4")
    assert dry.code == 0, dry.err
    assert "3 jobs: 3 new" in dry.out
    assert not shard_dir(cli, 4, "named-by").exists()


def test_the_next_command_of_a_stopped_shard_names_the_shard(slow_cli: Cli) -> None:
    divided(slow_cli, "resumed", "- {name: fox, prompt: a fox, repeat: 2}", shards=2)
    done = slow_cli("run", "plan.json", "--deadline", "4s", CRUCIBLE_BATCH_SHARD="2/2")
    assert done.code == 5
    assert done.out.splitlines()[-1].split("next")[-1].strip() == (
        "crucible-batch run plan.json --deadline 4s --shard 2/2"
    )
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
        (("run", "plan.json", "--shard", "1/3"), "shard 1/3 is not one of plan.json, which has 2 shards"),
        (("run", "plan.json", "--shard", "0/2"), "shards are numbered from 1 to 2"),
        (("run", "refused.yaml", "--shard", "1/2"), "a manifest is not divided into shards"),
        (("run", "refused.yaml"), "are not merged yet: 1, 2 of 2, with 56 credits set aside"),
        (("run", "plan.json", "--shard", "1/2", "--budget", "90"), "was made with: --budget 60"),
        (("run", "plan.json", "--shard", "1/2", "--only", "fox-1"), "no --only"),
        (("run", "plan.json", "--shard", "1/2", "--retry-failed"), "no --retry-failed"),
        (
            ("run", "plan.json", "--shard", "1/2", "--out-dir", "outputs/refused/default"),
            "a run that is not of a shard",
        ),
        (("plan", "refused.yaml", "--shards", "3", "-o", "other.json"), "are not merged yet: 1, 2 of 2"),
        (("plan", "refused.yaml", "--shards", "2"), "--shards needs a file for the plan"),
        (("plan", "refused.yaml", "--shards", "0", "-o", "p.json"), "greater than or equal to 1"),
        (("plan", "refused.yaml", "--shards", "2", "-o", "p.json", "--retry-failed"), "can't be used together"),
        (("status", "outputs/refused/default"), "are not merged yet: 1, 2 of 2"),
    ],
)
def test_what_a_divided_plan_does_not_allow_is_refused(refused_cli: Cli, command: tuple[str, ...], words: str) -> None:
    cli = refused_cli
    before = (cli.cwd / "plan.json").read_bytes()
    done = cli(*command)
    assert done.code == 2, done.out
    assert words in " ".join(done.err.split())
    assert not (cli.cwd / "outputs/refused/default/shards").exists()
    assert (cli.cwd / "plan.json").read_bytes() == before


@pytest.mark.parametrize(
    ("budget", "options", "words"),
    [
        ("{credits: 30}", (), "--shards needs budget.max_credits_per_job"),
        ("{credits: 30}", (), "declare it in the manifest"),
        ("", (), "--shards needs a budget"),
        ("{credits: 3, max_credits_per_job: 4}", (), "no job can start"),
    ],
)
def test_a_plan_that_can_not_be_divided_leaves_nothing_behind(
    cli: Cli, budget: str, options: tuple[str, ...], words: str
) -> None:
    cli.write("undivided", TWELVE, budget=budget)
    done = cli("plan", "undivided.yaml", "--shards", "2", "-o", "plan.json", *options)
    assert done.code == 2, done.out
    assert words in " ".join(done.err.split())
    assert not (cli.cwd / "plan.json").exists()
    assert not (cli.cwd / "outputs").exists()


def test_the_same_command_again_gives_the_same_plan(cli: Cli) -> None:
    divided(cli, "twice", shards=2)
    first = (cli.cwd / "plan.json").read_bytes()
    (cli.cwd / "plan.json").unlink()
    divided(cli, "twice", shards=2)
    assert (cli.cwd / "plan.json").read_bytes() == first
    assert "crucible-batch run plan.json --shard 1/2" in cli("plan", "plan.json").out


def test_the_allowances_are_set_aside_before_the_plan_has_its_name(cli: Cli) -> None:
    """Otherwise a run of the manifest, after a crash in between, could spend them a second time."""
    cli.write("aside", TWELVE, budget=CEILING)
    (cli.cwd / "plan.json").mkdir()
    done = cli("plan", "aside.yaml", "--shards", "2", "-o", "plan.json/../late/plan.json")
    assert done.code == 2
    (cli.cwd / "plan.json").rmdir()
    divided(cli, "aside", shards=2)
    with Journal.read(cli.cwd / "outputs/aside/default") as journal:
        outstanding = noted_shards(journal)
    assert outstanding is not None
    assert outstanding.plan_digest == plan_of(cli)["digest"]
    assert outstanding.set_aside == sum(Decimal(shard["allowance"]) for shard in plan_of(cli)["shards"])


def test_prices_that_the_main_run_has_seen_are_those_of_the_shards(cli: Cli, report_of: Report) -> None:
    cli.write("seen", TWELVE, budget="{credits: 30, max_credits_per_job: 4}")
    assert cli("run", "seen.yaml", "--only", "fox-1", "-q").code == 0
    done = cli("plan", "seen.yaml", "--shards", "3", "-o", "plan.json")
    assert done.code == 0, done.err
    document = plan_of(cli)
    assert {price["credits"] for price in document["learned"]} == {"2"}
    assert [shard["jobs"] for shard in document["shards"]] == [4, 4, 3]
    assert sum(Decimal(shard["allowance"]) for shard in document["shards"]) <= 28
    assert "shard" not in document["jobs"][0], "what is done stays in the main run directory"
    assert cli("run", "plan.json", "--shard", "1/3", "-q").code == 0
    assert report_of(shard_dir(cli, 1, "seen"))["counts"]["succeeded"] == 4


def test_a_shard_uses_the_images_that_are_at_the_gateway(cli: Cli, report_of: Report) -> None:
    for name in "ab":
        write_picture(cli.cwd / f"{name}.png", "red" if name == "a" else "blue")
    budget = "{credits: 60, max_credits_per_job: 8, max_credits_per_upload: 1}"
    cli.write("pictured", IMAGES, budget=budget)
    refused = cli("plan", "pictured.yaml", "--shards", "3", "-o", "plan.json")
    assert refused.code == 2
    assert "2 images are not uploaded, such as a.png: a shard doesn't upload images" in " ".join(refused.err.split())
    assert "--probe" in refused.err
    assert cli("run", "pictured.yaml", "--only", "edit-1", "--only", "edit-2", "-q").code == 0
    done = cli("plan", "pictured.yaml", "--shards", "2", "-o", "plan.json")
    assert done.code == 0, done.err
    for name in "ab":
        (cli.cwd / f"{name}.png").unlink()
    for number in (1, 2):
        ran = cli("run", "plan.json", "--shard", f"{number}/2", "-q")
        assert ran.code == 0, ran.err
        report = report_of(shard_dir(cli, number, "pictured"))
        assert (report["counts"]["succeeded"], report["credits"]["uploads"]) == (1, "0")
        with Journal.read(shard_dir(cli, number, "pictured")) as journal:
            own = noted_shard(journal)
        assert own == ShardOf(plan_of(cli)["digest"], ShardId(number, 2))


def test_a_job_that_the_budget_is_not_enough_for_is_in_no_shard_if_its_image_is_not_uploaded(cli: Cli) -> None:
    write_picture(cli.cwd / "a.png", "green")
    write_picture(cli.cwd / "b.png", "yellow")
    budget = "{credits: 8, max_credits_per_job: 8, max_credits_per_upload: 1}"
    divided(cli, "stays", f"- {{name: fox, prompt: a fox}}\n{IMAGES}", shards=2, budget=budget)
    rows = {row["name"]: row.get("shard") for row in plan_of(cli)["jobs"]}
    assert rows == {"fox": 1, "edit-1": None, "edit-2": None, "edit-3": None, "edit-4": None}


def test_unfinished_jobs_of_the_main_run_come_first(slow_cli: Cli) -> None:
    slow_cli.write("flying", "- {name: fox, prompt: a fox, repeat: 2}", budget=CEILING)
    assert slow_cli("run", "flying.yaml", "--deadline", "4s", "-q").code == 5
    done = slow_cli("plan", "flying.yaml", "--shards", "2", "-o", "plan.json")
    assert done.code == 2, done.out
    assert "is not finished: an earlier run left it in flight" in " ".join(done.err.split())
    assert "crucible-batch run flying.yaml --budget 60" in " ".join(done.err.split())


def test_each_shard_has_a_directory_of_its_own(cli: Cli) -> None:
    divided(cli, "apart", shards=2)
    assert cli("run", "plan.json", "--shard", "1/2", "--out-dir", "one", "-q").code == 0
    other = cli("run", "plan.json", "--shard", "2/2", "--out-dir", "one")
    assert other.code == 2
    assert "one is the directory of shard 1/2" in other.err
    assert cli("run", "apart.yaml", "--out-dir", "one").code == 2
    again = cli("run", "plan.json", "--shard", "1/2", "--out-dir", "one")
    assert (again.code, "0 spent by this run" in again.out) == (0, True)
    assert "crucible-batch merge one --out-dir outputs/apart/default" in again.out


def test_prune_keeps_what_is_not_merged(cli: Cli) -> None:
    cli.write("kept", TWELVE, budget=CEILING)
    assert cli("run", "kept.yaml", "--only", "fox-1", "--no-html", "-q").code == 0
    assert cli("plan", "kept.yaml", "--shards", "3", "-o", "plan.json", "-q").code == 0
    assert cli("run", "plan.json", "--shard", "1/3", "--no-html", "-q").code == 0
    assert cli("run", "kept.yaml", "--run-id", "newer", "--only", "fox-1", "--no-html", "-q").code == 0
    for directory, run_dir in (
        ("outputs", "outputs/kept/default"),
        ("outputs/kept/default/shards", str(shard_dir(cli, 1, "kept").relative_to(cli.cwd))),
    ):
        done = cli("prune", directory, "--keep", "1", "--yes", "--json")
        kept = {run["run_dir"]: run["keep"] for run in done.envelope["data"]["runs"]}
        assert kept[run_dir] == "shards", done.out


def test_a_divided_plan_is_known_in_another_folder(cli: Cli) -> None:
    divided(cli, "afar", shards=2)
    other = cli.cwd / "other"
    other.mkdir()
    elsewhere = Cli(other, cli.url)
    for command in (("run", "../afar.yaml"), ("plan", "../afar.yaml", "--shards", "2", "-o", "plan.json")):
        done = elsewhere(*command)
        assert done.code == 2
        assert "whose plan was divided into shards that are not merged yet" in " ".join(done.err.split())
    assert not (other / "outputs").exists()


def test_a_merged_shard_is_not_run_again(cli: Cli) -> None:
    divided(cli, "merged", shards=2)
    main = cli.cwd / "outputs/merged/default"
    with Journal.read(main) as journal:
        binding, outstanding = journal.binding(), noted_shards(journal)
    assert outstanding is not None
    with Journal.open(main, binding, now=0.0) as journal:
        note_shards(journal, OutstandingShards(outstanding.plan_digest, outstanding.allowances, frozenset({1})))
    refused = cli("run", "plan.json", "--shard", "1/2")
    assert (refused.code, "shard 1/2 was merged into" in refused.err) == (2, True)
    assert cli("run", "plan.json", "--shard", "2/2", "-q").code == 0
    with Journal.open(main, binding, now=0.0) as journal:
        note_shards(journal, OutstandingShards("0" * 64, {}))
    refused = cli("run", "plan.json", "--shard", "2/2")
    assert (refused.code, "was divided again" in refused.err) == (2, True)


def test_a_plan_after_all_shards_were_abandoned_is_another_one_and_can_be_run(cli: Cli) -> None:
    divided(cli, "again", shards=2)
    first = plan_of(cli)
    assert cli("merge", "outputs/again/default", "--abandon", "all", "-q").code == 0
    assert cli("plan", "again.yaml", "--shards", "2", "-o", "plan.json").code == 0
    second = plan_of(cli)
    assert first["digest"] != second["digest"]
    assert {**first, "digest": "", "division": 0} == {**second, "digest": "", "division": 0}
    assert cli("run", "again.yaml").code == 2  # the credits are set aside again
    assert cli("run", "plan.json", "--shard", "2/2", "-q").code == 0


def ended_after_a_wait(cli: Cli, *options: str, meanwhile: Callable[[], object]) -> tuple[int | None, str]:
    """Run a shard that has to wait for its gateway, and do something meanwhile; return its exit code and messages."""

    def faults(text: str) -> None:
        urllib.request.urlopen(f"{cli.url}/_sandbox/config", json.dumps({"faults": text}).encode()).close()

    def refusals() -> int:
        with urllib.request.urlopen(f"{cli.url}/_sandbox/state") as answer:
            return sum(fired["count"] for fired in json.load(answer)["faults_fired"])

    faults("metadata.503-before:1")
    process = cli.start("run", "plan.json", *options, "--wait-for-gateway", "5m")
    try:
        give_up = time.monotonic() + 240
        while not refusals():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        meanwhile()
        faults("")
        _, err = process.communicate(timeout=240)
    finally:
        process.kill()
        process.wait()
    return process.returncode, err


def test_a_shard_that_was_abandoned_while_it_waited_for_the_gateway_buys_nothing(own_cli: Cli) -> None:
    divided(own_cli, "waiting", shards=2)

    def abandon() -> None:
        assert own_cli("merge", "outputs/waiting/default", "--abandon", "all", "-q").code == 0

    code, err = ended_after_a_wait(own_cli, "--shard", "2/2", meanwhile=abandon)
    assert (code, "shard 2/2 was merged into" in err) == (2, True)
    assert used_at(own_cli.url)[-1] == 0


def test_a_shard_whose_directory_was_taken_while_it_waited_for_the_gateway_buys_nothing(own_cli: Cli) -> None:
    divided(own_cli, "taken", shards=2)
    directory = own_cli.cwd / "outputs/taken/default/shards" / plan_of(own_cli)["digest"][:8] / "2-of-2"
    with ExitStack() as held:
        code, err = ended_after_a_wait(
            own_cli, "--shard", "2/2", meanwhile=lambda: held.enter_context(lock_run_directory(directory))
        )
    assert (code, "another run holds" in err) == (6, True)
    assert used_at(own_cli.url)[-1] == 0


def test_a_shard_runs_where_only_the_plan_and_the_manifest_are(cli: Cli, report_of: Report, tmp_path: Path) -> None:
    divided(cli, "moved-off", shards=2)
    there = tmp_path / "machine"
    there.mkdir()
    for name in ("plan.json", "moved-off.yaml"):
        shutil.copy(cli.cwd / name, there / name)
    elsewhere = Cli(there, cli.url)
    assert elsewhere("run", "plan.json", "--shard", "2/2", "-q").code == 0
    assert report_of(shard_dir(elsewhere, 2, "moved-off"))["counts"]["succeeded"] == 6


def test_a_changed_manifest_is_refused(cli: Cli) -> None:
    divided(cli, "changed", shards=2)
    cli.write("changed", TWELVE.replace("a fox", "a wolf"), budget=CEILING)
    done = cli("run", "plan.json", "--shard", "1/2")
    assert done.code == 2
    assert "changed.yaml: content changed" in done.err
    assert "crucible-batch plan changed.yaml --shards 2 -o plan.json" in done.err


def test_a_shard_with_another_key_than_that_of_its_plan_is_refused(cli: Cli, tmp_path: Path) -> None:
    """The sandbox has one key, so it is the plan that is made to be another one's."""
    divided(cli, "accounts", shards=2)
    assert plan_of(cli)["account"]["fingerprint"].startswith("pbkdf2:")
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy(cli.cwd / "accounts.yaml", there)
    plan = read_saved_plan(cli.cwd / "plan.json")
    rows = [row for number in (1, 2) for row in plan.shard_rows(number)]
    rows.sort(key=lambda row: row.position)
    head = replace(plan.head, account=PlanAccount("pbkdf2:00:00"))
    write_saved_plan(there / "plan.json", head, rows)
    elsewhere = Cli(there, cli.url)
    refused = elsewhere("run", "plan.json", "--shard", "1/2", "--out-dir", "one", "--json")
    assert refused.code == 2, refused.err
    assert "whether this key is of the same account" in refused.envelope["error"]["message"]
    assert not (there / "one").exists()
    assert elsewhere("run", "plan.json", "--shard", "1/2", "--out-dir", "one", "--same-account").code == 0


def test_the_journal_of_a_shard_has_its_terms(cli: Cli) -> None:
    divided(cli, "terms", shards=2)
    assert cli("run", "plan.json", "--shard", "2/2", "-q").code == 0
    path = shard_dir(cli, 2, "terms") / ".crucible/journal.sqlite3"
    with sqlite3.connect(path) as connection:
        (terms,) = connection.execute("SELECT terms FROM runs").fetchone()
    known = json.loads(terms)
    assert known["shard"] == {"number": 2, "count": 2}
    assert (known["plan_digest"], known["budget"]) == (plan_of(cli)["digest"], plan_of(cli)["shards"][1]["allowance"])


def write_picture(path: Path, color: str) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), color).save(path)
