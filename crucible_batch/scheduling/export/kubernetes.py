"""A CronJob of Kubernetes for each schedule, with what it needs: a ConfigMap, and one claim for all outputs."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from crucible_batch.errors import UserError
from crucible_batch.scheduling.export.target import (
    MARK,
    TIME_TO_STOP_S,
    ExportedFile,
    ExportOptions,
    check_paths,
    plain_times_of,
    run_arguments,
    yaml_text,
)
from crucible_batch.scheduling.schedules import ScheduledManifest

_LONGEST_NAME = 52
"""Kubernetes appends the time to the name of a CronJob."""
_SECRET = "crucible-batch"  # noqa: S105 - the name of the Secret
_CLAIM = "crucible-batch"
_DATA = "/data"
_MANIFEST = "/manifest/manifest.yaml"
_MOST_IN_A_CONFIG_MAP = 900_000
_USER_ID = 10001
"""The user of our image, and any other image that is not run as root."""
_FINAL_EXIT_CODES = (1, 2, 3, 4, 6, 7, 70)
_LATE_S = 3600


def export_kubernetes(schedules: Sequence[ScheduledManifest], options: ExportOptions) -> list[ExportedFile]:
    """Return a file with the claim for outputs, and one for each schedule.

    Raises ``UserError`` without an image, and for a schedule that Kubernetes has no expression for.
    """
    if options.image is None:
        raise UserError(
            "--to kubernetes needs a container image with crucible-batch installed", hint="--image REGISTRY/NAME:TAG"
        )
    env_file = shlex.quote(str(options.env_file or options.directory / ".env"))
    secret = f"kubectl create secret generic {_SECRET} --from-env-file={env_file}   # with MOLTAZINE_API_KEY"
    options = dataclasses.replace(options, env_file=None)  # the container has the variables of the Secret
    claim = f"{MARK}\n# Outputs and journals of all runs.\n{yaml_text([_claim()])}"
    files = [ExportedFile(f"{_CLAIM}-claim.yaml", claim, (secret, f"kubectl apply -f {_CLAIM}-claim.yaml"))]
    return files + [_file(schedule, options) for schedule in schedules]


def _file(schedule: ScheduledManifest, options: ExportOptions) -> ExportedFile:
    name = _resource_name(schedule.name)
    comment = f"{MARK}\n"
    objects = []
    manifest: str = _MANIFEST
    if schedule.needs_files:
        check_paths([schedule.path.name], "Kubernetes")
        folder = f"{_DATA}/manifests/{schedule.name}"
        manifest = f"{folder}/{schedule.path.name}"
        comment += f"# The manifest reads other files: copy its folder to {folder} in the volume {_CLAIM}.\n"
    else:
        objects.append(_config_map(schedule, name))
    objects.append(_cron_job(schedule, options, name, manifest))
    return ExportedFile(f"{name}.yaml", comment + yaml_text(objects), (f"kubectl apply -f {name}.yaml",))


def _resource_name(name: str) -> str:
    """Return the name of a CronJob (RFC 1123, 52 characters). A changed name ends in a digest, to remain unique."""
    plain = re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-") or "manifest"
    full = f"crucible-batch-{plain}"
    if plain == name and len(full) <= _LONGEST_NAME:
        return full
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{full[: _LONGEST_NAME - 9].rstrip('-')}-{digest}"


def _claim() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": _CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }


def _config_map(schedule: ScheduledManifest, name: str) -> dict[str, Any]:
    text = schedule.path.read_text(encoding="utf-8-sig")
    if len(text.encode()) > _MOST_IN_A_CONFIG_MAP:
        raise UserError(
            f"{schedule.path}: the manifest is too large for a ConfigMap", hint="move its jobs to a table: foreach"
        )
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"manifest.yaml": text}}


def _cron_job(schedule: ScheduledManifest, options: ExportOptions, name: str, manifest: str) -> dict[str, Any]:
    cron, times = plain_times_of(schedule, options, "Kubernetes")
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {
            "schedule": cron,
            "timeZone": "Etc/UTC" if times.zone_name == "UTC" else times.zone_name,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": min(86_400, times.shortest_s) if schedule.catch_up else _LATE_S,
            "jobTemplate": {"spec": _job(schedule, options, name, manifest)},
        },
    }


def _job(schedule: ScheduledManifest, options: ExportOptions, name: str, manifest: str) -> dict[str, Any]:
    """Return the job. Only exit code 5, crashes and evictions are tried again, within its deadline."""
    final = {"containerName": "run", "operator": "In", "values": list(_FINAL_EXIT_CODES)}
    return {
        "activeDeadlineSeconds": int(options.deadline_of(schedule)) + TIME_TO_STOP_S,
        "backoffLimit": 2,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": final},
            ]
        },
        "template": {"spec": _pod(schedule, options, name, manifest)},
    }


def _pod(schedule: ScheduledManifest, options: ExportOptions, name: str, manifest: str) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": _CLAIM}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [{"name": "data", "mountPath": _DATA}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - in the container
    if manifest == _MANIFEST:
        volumes.append({"name": "manifest", "configMap": {"name": name}})
        mounts.append({"name": "manifest", "mountPath": "/manifest", "readOnly": True})
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 120,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "fsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(schedule, options, manifest, mounts)],
        "volumes": volumes,
    }


def _container(
    schedule: ScheduledManifest, options: ExportOptions, manifest: str, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    words = [*run_arguments(schedule, options, manifest), "--log-format", "json"]
    arguments = [word.replace("$(", "$$(") for word in words]
    job_name = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    return {
        "name": "run",
        "image": options.image,
        "command": ["crucible-batch"],
        "args": arguments,
        "workingDir": _DATA,
        "envFrom": [{"secretRef": {"name": _SECRET}}],
        "env": [
            {"name": "CRUCIBLE_BATCH_KUBERNETES_JOB", "valueFrom": job_name},
            {"name": "HOME", "value": _DATA},
            {"name": "XDG_STATE_HOME", "value": f"{_DATA}/state"},
            {"name": "CRUCIBLE_BATCH_ACCOUNTS", "value": f"{_DATA}/accounts"},
        ],
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
