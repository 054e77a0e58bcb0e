"""The files that run the shards of a plan on Slurm, Kubernetes and AWS Batch.

They start, restart and place processes. Each process learns its shard from the index that the batch
system gives it, as ``run plan.json`` does by hand. In a container of a run in an object store there
is no plan: there, workers take the shards.

Exit codes 1 to 4 and 70 end a shard, since another start would end in the same way.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from crucible_batch.cli.exported_files import ExportedFile, resource_name, yaml_text
from crucible_batch.errors import ExitCode
from crucible_batch.features.machines.plan_options import BatchSystem, BatchSystemOptions
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.paths import main_location, plan_outputs_url
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.shell_command import shell_command

_WRITTEN_BY = "# Written by `crucible-batch plan --export"
_SHELL = "#!/bin/sh\n"
MARKS = (_WRITTEN_BY, _SHELL + _WRITTEN_BY, '{\n  "jobName": "crucible-batch-')
"""With one of them begins each file; only such a file is overwritten. JSON has no comments."""
VOLUME = "/data"
"""Where containers have the directory of the run."""
_LONGEST_NAME = 52
"""Kubernetes appends the number of a shard and five characters to the name of a Job."""
_FINAL = (
    ExitCode.SOME_FAILED,
    ExitCode.USER_ERROR,
    ExitCode.KEY_REFUSED,
    ExitCode.OUT_OF_CREDITS,
    70,  # a defect of the program
)
_STARTS = 3
_USER = 10001
_ENVIRONMENT = (
    {"name": "HOME", "value": VOLUME},
    {"name": "XDG_STATE_HOME", "value": "/tmp/state"},  # noqa: S108 - of the container
)
"""A shard's own journal is on the disk of its machine, and its log is with the outputs."""


@dataclass(frozen=True, slots=True)
class Export:
    """What the files name.

    ``directory`` is the absolute working directory; ``root`` is the one that containers have at
    ``VOLUME``.
    """

    options: BatchSystemOptions
    plan: SavedPlan
    directory: Path
    root: Path

    @property
    def shards(self) -> int:
        return len(self.plan.head.shards)

    @property
    def url(self) -> ObjectUrl | None:
        return plan_outputs_url(self.plan)

    @property
    def name(self) -> str:
        """A name of the run. The suffix has each plan submitted as another job."""
        manifest = self.plan.head.manifest.name
        run_id = self.plan.head.options.run_id
        if run_id != "default":
            manifest = f"{manifest}-{run_id}"
        return resource_name(manifest, _LONGEST_NAME, suffix=f"-{self.plan.digest[:8]}")

    @property
    def merge(self) -> str:
        return shell_command("merge", main_location(self.plan))

    def path_of(self, name: str) -> str:
        """Return the path of a file beside the plan."""
        return as_argument(self.plan.path.with_name(name))

    @property
    def container_words(self) -> list[str]:
        """The arguments of a container."""
        if self.url is not None:
            return ["worker", str(self.url), "--drain"]
        plan = as_argument(self.in_volume(self.plan.path))
        return ["run", plan, "--display", "none", "--log-format", "json"]

    def in_volume(self, path: Path) -> str:
        """Return a path relative to the volume."""
        return os.path.relpath(os.path.abspath(path), self.root)  # noqa: PTH100 - links stay


@dataclass(frozen=True, slots=True)
class Exported:
    """Files, and the commands that submit them; ``once``: before the first run only."""

    files: Sequence[ExportedFile]
    submit: str
    once: Sequence[str] = ()


def as_argument(path: str | Path) -> str:
    """Return a path that isn't mistaken for an option or, by AWS Batch, for a parameter."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "Ref::")) else text


def export(one: Export) -> Exported:
    """Return the files for the batch system of the options."""
    assert one.options.export is not None
    return _EXPORTS[one.options.export](one)


_SLURM = Template("""\
$mark slurm`: the shards of a divided plan as an array job.
# Submit it once:
#
#   sbatch shards.sbatch
#
# Start shards again with, for instance, sbatch --array=3,5 shards.sbatch. The API key is read from
# .env in the directory below (mode 0600): unlike a variable, it is not part of what Slurm stores.
#SBATCH --job-name=$name
#SBATCH --array=1-$shards
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=06:00:00
#SBATCH --output=%x-%A-%a.log
#SBATCH --open-mode=append
# If its node fails, or another job takes it, the shard starts again and resumes.
#SBATCH --requeue
# Two minutes before the time limit: the shard buys nothing more, and waits up to 30 seconds for its
# jobs in flight.
#SBATCH --signal=B:TERM@120
set -eu
if [ -z "$${SLURM_ARRAY_TASK_ID:-}" ]; then
  echo "submit this script to Slurm: sbatch $$0" >&2
  exit 2
fi
cd -- $directory
# A shard's own journal is on the node's disk; its log is with the outputs.
XDG_STATE_HOME=$${TMPDIR:-/tmp}/crucible-batch-$$(id -u)
export XDG_STATE_HOME
# The number of the shard is read from SLURM_ARRAY_TASK_ID. With exec, the signal reaches the run.
exec crucible-batch run $plan --display plain
""")


def _slurm(one: Export) -> Exported:
    text = _SLURM.substitute(
        mark=_SHELL + _WRITTEN_BY,
        name=one.name,
        shards=one.shards,
        directory=shlex.quote(str(one.directory)),
        plan=shlex.quote(as_argument(one.plan.path)),
    )
    submit = shlex.join(["sbatch", one.path_of("shards.sbatch")])
    return Exported([ExportedFile("shards.sbatch", text)], submit)


_JOB_COMMENT = f"""\
{_WRITTEN_BY} kubernetes`: a pod for each shard of a divided plan.
# A pod learns its shard from JOB_COMPLETION_INDEX. Exit codes 1 to 4 and 70 end a shard, since
# another start would end in the same way; a pod that was moved to another node starts again.
"""
_PATHS_COMMENT = Template("""\
# $volume of the volume (volume.yaml) needs the plan and its manifest:
#   $plan
#   $manifest
""")
_VOLUME_COMMENT = f"""\
{_WRITTEN_BY} kubernetes`: the volume that all pods share, at {VOLUME}.
# The storage class has to offer ReadWriteMany, with working locks and renames.
"""


def _kubernetes(one: Export) -> Exported:
    comment, files = _JOB_COMMENT, []
    once = ["kubectl create secret generic crucible-batch --from-env-file=.env"]
    if one.url is None:
        manifest = one.plan.path.parent / one.plan.head.manifest.path
        plan, manifest_path = one.in_volume(one.plan.path), one.in_volume(manifest)
        comment += _PATHS_COMMENT.substitute(volume=VOLUME, plan=plan, manifest=manifest_path)
        files.append(ExportedFile("volume.yaml", _VOLUME_COMMENT + yaml_text([_CLAIM])))
        once.append(shlex.join(["kubectl", "apply", "-f", one.path_of("volume.yaml")]))
    files.append(ExportedFile("shards.yaml", comment + yaml_text([_job(one)])))
    submit = shlex.join(["kubectl", "apply", "-f", one.path_of("shards.yaml")])
    return Exported(files, submit, once)


_CLAIM: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "crucible-batch"},
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "20Gi"}},
    },
}


def _job(one: Export) -> dict[str, Any]:
    ignored = {"type": "DisruptionTarget", "status": "True"}
    final = {"containerName": "shard", "operator": "In", "values": [int(code) for code in _FINAL]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": one.name},
        "spec": {
            "completions": one.shards,
            "parallelism": one.shards,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": _STARTS,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [ignored]},
                    {"action": "FailIndex", "onExitCodes": final},
                ]
            },
            "template": {"spec": _pod(one)},
        },
    }


def _pod(one: Export) -> dict[str, Any]:
    data: dict[str, Any] = {"persistentVolumeClaim": {"claimName": "crucible-batch"}}
    if one.url is not None:
        data = {"emptyDir": {}}  # the log in the store has all of it
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 120,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(one)],
        "volumes": [{"name": "data", **data}, {"name": "tmp", "emptyDir": {}}],
    }


def _container(one: Export) -> dict[str, Any]:
    return {
        "name": "shard",
        "image": one.options.image,
        "command": ["crucible-batch"],
        # Kubernetes expands $(NAME).
        "args": [word.replace("$(", "$$(") for word in one.container_words],
        "workingDir": VOLUME,
        "envFrom": [{"secretRef": {"name": "crucible-batch"}}],
        "env": [*_ENVIRONMENT],
        "resources": {
            "requests": {"cpu": "250m", "memory": "256Mi"},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": VOLUME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container
        ],
    }


def _aws_batch(one: Export) -> Exported:
    words = one.container_words
    array: dict[str, Any] = {"arrayProperties": {"size": one.shards}}
    if one.shards == 1:  # an array has two tasks or more
        array = {}
        if one.url is None:
            words = [*words, "--shard", "1/1"]
    request = {
        "jobName": one.name,
        "jobQueue": one.options.job_queue,
        "jobDefinition": one.options.job_definition,
        **array,
        "retryStrategy": {
            "attempts": _STARTS,
            "evaluateOnExit": [{"onExitCode": str(int(code)), "action": "EXIT"} for code in _FINAL],
        },
        "containerOverrides": {"command": words, "environment": _ENVIRONMENT},
    }
    text = json.dumps(request, indent=2) + "\n"
    file = one.path_of("shards.json")
    submit = shlex.join(["aws", "batch", "submit-job", "--cli-input-json", f"file://{file}"])
    return Exported([ExportedFile("shards.json", text)], submit)


_EXPORTS: Mapping[BatchSystem, Callable[[Export], Exported]] = {
    BatchSystem.SLURM: _slurm,
    BatchSystem.KUBERNETES: _kubernetes,
    BatchSystem.AWS_BATCH: _aws_batch,
}
