"""``plan --export``: what is written, what is refused, and that the docs have the same files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from crucible_batch.features.machines import exports, plan_folder
from crucible_batch.features.machines.plan_options import BatchSystem, BatchSystemOptions
from crucible_batch.saved_plan import SavedPlan
from tests.harness.case_table import each_case
from tests.harness.commands import Cli, Done
from tests.integration.docs.page import ROOT

DEPLOY = ROOT / "docs" / "deploy"
JOBS = "- {name: window, prompt: a shop window, repeat: 8}"
BUDGET = "{credits: 30, max_credits_per_job: 3}"
IMAGE = ("--image", "registry.example/batch:1")
QUEUE = ("--job-queue", "images", "--job-definition", "crucible-batch:1")
AT_URL = "file:///srv/winter"
SYSTEMS = {"slurm": (), "kubernetes": IMAGE, "aws-batch": QUEUE}
FILES = {
    "slurm": ("shards.sbatch",),
    "kubernetes": ("shards.yaml", "volume.yaml"),
    "aws-batch": ("shards.json",),
}


def exported(
    cli: Cli, to: str, *more: str, name: str = "winter", shards: int = 8, folder: str = "winter"
) -> Done:
    """Divide a manifest, and export it into a folder."""
    cli.write(name, JOBS, budget=BUDGET)
    words = ("plan", f"{name}.yaml", "--shards", str(shards), "--export", to)
    return cli(*words, *SYSTEMS[to], "-o", folder, *more)


def written(cli: Cli, file: str, folder: str = "winter") -> Any:
    """Return the only document of a file."""
    return yaml.safe_load((cli.cwd / folder / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("to", SYSTEMS)
def test_the_files_of_the_docs_are_what_is_exported(cli: Cli, to: str) -> None:
    for _ in range(2):  # the same command again writes the same files
        done = exported(cli, to)
        assert done.code == 0, done.err
    assert sorted(path.name for path in (cli.cwd / "winter").iterdir()) == sorted(
        ["plan.json", *FILES[to]]
    )
    digest = json.loads((cli.cwd / "winter/plan.json").read_text())["digest"][:8]
    for name in FILES[to]:
        text = (cli.cwd / "winter" / name).read_text()
        text = text.replace(str(cli.cwd), "/data").replace(digest, "0a1b2c3d")
        kept = DEPLOY / to / name
        assert kept.read_text() == text, f"{kept}: copy what is exported"


@each_case(
    "to, submit",
    [
        ("slurm", "sbatch winter/shards.sbatch"),
        ("kubernetes", "kubectl apply -f winter/shards.yaml"),
        ("aws-batch", "aws batch submit-job --cli-input-json file://winter/shards.json"),
    ],
)
def test_the_commands_that_submit_and_merge_are_shown(cli: Cli, to: str, submit: str) -> None:
    done = exported(cli, to, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["data"]["export"]
    assert (found["to"], found["commands"]["submit"]) == (to, submit)
    assert found["commands"]["merge"] == "crucible-batch merge outputs/winter/default"
    assert found["files"] == [f"winter/{name}" for name in reversed(FILES[to])]
    shown = exported(cli, to).out
    assert f"next      {submit}\n" in shown
    assert "then      crucible-batch merge outputs/winter/default" in shown
    assert "--shard 1/8" not in shown


@each_case(
    "words, message",
    [
        (("--export", "slurm", "-o", "out"), "--export needs --shards"),
        (("--export", "slurm", "--shards", "2"), "--export needs a folder"),
        (("--export", "slurm", "--shards", "2", "-o", "file"), "file is not a folder"),
        (("--export", "kubernetes", "--shards", "2", "-o", "out"), "needs --image"),
        (("--export", "kubernetes", "--image", "", "--shards", "2", "-o", "out"), "needs --image"),
        (("--export", "aws-batch", "--shards", "2", "-o", "out"), "needs --job-queue"),
        (
            ("--export", "slurm", *IMAGE, "--shards", "2", "-o", "out"),
            "--image has no meaning for --export slurm",
        ),
        ((*IMAGE,), "--image has no meaning for a plan without --export"),
        (
            ("--export", "kubernetes", *IMAGE, "--shards", "2", "-o", "../out"),
            "-o, ../out, is not below",
        ),
        (
            ("--export", "aws-batch", *QUEUE, "--shards", "2", "-o", "out", "--out-dir", "../runs"),
            "--out-dir, ../runs, is not below",
        ),
        (
            ("--export", "kubernetes", *IMAGE, "--shards", "2", "-o", "out", "--out-dir", AT_URL),
            "the containers don't have /srv/winter",
        ),
        (("--export", "aws-batch", *QUEUE, "--shards", "2", "-o", "a\nb"), "'\\n'"),
        (("--export", "slurm", "--shards", "2", "-o", "a\nb"), "'\\n'"),
        (("--export", "nomad", "--shards", "2", "-o", "out"), "nomad"),
    ],
)
def test_what_can_t_be_exported_is_refused_before_anything_is_written(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    cli.write("winter", JOBS, budget=BUDGET)
    (cli.cwd / "file").write_text("mine\n")
    done = cli("plan", "winter.yaml", *words)
    assert done.code == 2
    assert message in done.err
    assert sorted(path.name for path in cli.cwd.iterdir()) == ["file", "winter.yaml"]


def test_a_plan_that_is_refused_leaves_no_folder(cli: Cli) -> None:
    done = exported(cli, "slurm", "--budget", "1")
    assert done.code == 2
    assert not (cli.cwd / "winter").exists()


@pytest.mark.parametrize("name", ["plan.json", "shards.sbatch"])
def test_a_file_of_another_kind_is_not_overwritten(cli: Cli, name: str) -> None:
    (cli.cwd / "winter").mkdir()
    (cli.cwd / "winter" / name).write_text("mine\n")
    done = exported(cli, "slurm")
    assert done.code == 2
    assert "not overwritten" in done.err
    assert (cli.cwd / "winter" / name).read_text() == "mine\n"
    assert not (cli.cwd / "outputs").exists(), "nothing is set aside"
    assert exported(cli, "slurm", "--force").code == 0


def test_names_that_a_cluster_does_not_accept_are_changed(cli: Cli) -> None:
    done = exported(cli, "kubernetes", "--run-id", f"Night_{'x' * 60}")
    assert done.code == 0, done.err
    name = written(cli, "shards.yaml")["metadata"]["name"]
    assert len(name) <= 52
    assert name.startswith("crucible-batch-winter-night-x")
    assert name.replace("-", "").isalnum()
    assert name == name.lower()


def test_each_plan_is_submitted_under_a_name_of_its_own(cli: Cli) -> None:
    names = set[str]()
    for run_id in ("a", "b"):
        assert exported(cli, "aws-batch", "--run-id", run_id).code == 0
        names.add(written(cli, "shards.json")["jobName"])
    assert len(names) == 2


def test_an_array_of_aws_has_two_tasks_or_more(cli: Cli) -> None:
    assert exported(cli, "aws-batch", shards=1).code == 0
    request = written(cli, "shards.json")
    assert "arrayProperties" not in request
    assert request["containerOverrides"]["command"][-2:] == ["--shard", "1/1"]


@each_case("folder", ["-n", "Ref::plan", "$(HOME)", "it's a; folder"])
def test_a_path_is_never_an_option_or_a_variable(cli: Cli, folder: str) -> None:
    for to in SYSTEMS:
        done = exported(cli, to, f"--output={folder}")
        assert done.code == 0, done.err
    (container,) = written(cli, "shards.yaml", folder)["spec"]["template"]["spec"]["containers"]
    plan = written(cli, "shards.json", folder)["containerOverrides"]["command"][1]
    assert plan.removeprefix("./") == f"{folder}/plan.json"
    assert not plan.startswith(("-", "Ref::"))
    assert container["args"][1] == plan.replace("$(", "$$(")
    script = (cli.cwd / folder / "shards.sbatch").read_text().splitlines()
    assert shlex.split(script[-1])[3] == plan


def test_a_container_has_the_volume_where_the_run_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data/shop").mkdir(parents=True)
    monkeypatch.setattr(exports, "VOLUME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "data/shop")
    assert plan_folder._root() == tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    assert plan_folder._root() == tmp_path


@pytest.mark.parametrize("to", ["kubernetes", "aws-batch"])
def test_containers_of_a_run_in_an_object_store_need_no_plan_and_no_volume(to: str) -> None:
    options = BatchSystemOptions(BatchSystem(to), "batch:1", "images", "batch:1")
    head = SimpleNamespace(
        shards=(1, 2),
        manifest=SimpleNamespace(name="winter"),
        options=SimpleNamespace(run_id="default", run_dir="s3://bucket/winter"),
    )
    plan = cast(
        "SavedPlan", SimpleNamespace(head=head, digest="0a1b2c3d", path=Path("x/plan.json"))
    )
    made = exports.export(exports.Export(options, plan, Path("/here"), Path("/here")))
    (file,) = made.files
    found = json.dumps(yaml.safe_load(file.text))
    assert '["worker", "s3://bucket/winter", "--drain"]' in found
    assert "persistentVolumeClaim" not in found
    assert "plan.json" not in found
