"""The schemas of Kubernetes and of GitHub's workflows accept what is exported for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verification.schedulers.conftest import HOSTILE, module

_WORKFLOWS = "vendor.github-workflows"


@pytest.mark.parametrize(
    ("name", "cron"),
    [
        ("plain", "0 9 * * mon-fri"),
        ("plain", "*/10 * * * *"),
        *((name, "15 3 * * *") for name in HOSTILE),
    ],
)
def test_kubernetes_accepts_the_objects(
    exported: Callable[..., Path], name: str, cron: str
) -> None:
    written = exported(
        "kubernetes",
        "--image",
        "registry.example/batch:1",
        place=name,
        file=f"{name}.yaml",
        cron=cron,
    )
    files = sorted(written.iterdir())
    assert [file.name for file in files] == [
        "crucible-batch-claim.yaml",
        "crucible-batch-nightly.yaml",
    ]
    done = module("kubernetes_validate", "--strict", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = files[1].read_text().replace("concurrencyPolicy", "concurencyPolicy")
    files[1].write_text(broken)
    assert (
        module("kubernetes_validate", "--strict", files[1]).returncode != 0
    )  # and it does look at them


@pytest.mark.parametrize("name", ["plain", *(each for each in HOSTILE if "$" not in each)])
def test_github_accepts_the_workflow(
    exported: Callable[..., Path], folder: Path, name: str
) -> None:
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    written = exported("github-actions", place=name, file=f"{name}.yaml", zone="Europe/Berlin")
    (workflow,) = written.iterdir()
    done = module("check_jsonschema", "--builtin-schema", _WORKFLOWS, workflow)
    assert done.returncode == 0, done.stdout + done.stderr
    workflow.write_text(workflow.read_text().replace("runs-on", "run-on"))
    assert module("check_jsonschema", "--builtin-schema", _WORKFLOWS, workflow).returncode != 0
