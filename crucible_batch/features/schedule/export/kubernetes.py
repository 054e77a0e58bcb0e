"""A CronJob of Kubernetes for each schedule, with its ConfigMap and one claim for all outputs."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from string import Template

from crucible_batch.cli.exported_files import ExportedFile, check_paths, resource_name, yaml_text
from crucible_batch.errors import UserError
from crucible_batch.features.schedule.export.target import (
    MARK,
    TIME_TO_STOP_S,
    ExportOptions,
    plain_cron,
    run_arguments,
    shortest_interval,
)
from crucible_batch.features.schedule.schedules import ScheduledManifest

_LONGEST_NAME = 52
"""Kubernetes appends the time to the name of a CronJob."""
_MOST_IN_A_CONFIG_MAP = 900_000
_LATE_S = 3600

_CLAIM = """\
# Outputs and journals of all runs.
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: crucible-batch}
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests: {storage: 10Gi}
"""
# Only exit code 5, crashes and evictions are tried again, within the deadline. The user is that of
# our image, and of any other image that is not run as root.
_CRON_JOB = Template("""\
apiVersion: batch/v1
kind: CronJob
metadata: {name: $name}
spec:
  schedule: '$cron'
  timeZone: $zone
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: $late_s
  jobTemplate:
    spec:
      activeDeadlineSeconds: $deadline_s
      backoffLimit: 2
      podFailurePolicy:
        rules:
        - action: Ignore
          onPodConditions:
          - {type: DisruptionTarget, status: 'True'}
        - action: FailJob
          onExitCodes:
            containerName: run
            operator: In
            values: [1, 2, 3, 4, 6, 7, 70]
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          terminationGracePeriodSeconds: 120
          securityContext:
            runAsNonRoot: true
            runAsUser: 10001
            fsGroup: 10001
            seccompProfile: {type: RuntimeDefault}
          containers:
          - name: run
            image: $image
            command: [crucible-batch]
            args: $arguments
            workingDir: /data
            envFrom:
            - secretRef: {name: crucible-batch}
            env:
            - name: CRUCIBLE_BATCH_KUBERNETES_JOB
              valueFrom:
                fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}
            - {name: HOME, value: /data}
            - {name: XDG_STATE_HOME, value: /data/state}
            - {name: CRUCIBLE_BATCH_ACCOUNTS, value: /data/accounts}
            resources:
              requests: {cpu: 250m, memory: 256Mi}
              limits: {memory: 1Gi}
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities:
                drop: [ALL]
            volumeMounts:
            - {name: data, mountPath: /data}
            - {name: tmp, mountPath: /tmp}
$mount          volumes:
          - name: data
            persistentVolumeClaim: {claimName: crucible-batch}
          - name: tmp
            emptyDir: {}
$volume""")
_MOUNT = "            - {name: manifest, mountPath: /manifest, readOnly: true}\n"
_VOLUME = "          - name: manifest\n            configMap: {{name: {name}}}\n"


def export_kubernetes(
    schedules: Sequence[ScheduledManifest], options: ExportOptions
) -> list[ExportedFile]:
    """Return a file with the claim for outputs, and one for each schedule.

    Raises ``UserError`` without an image, and for a schedule that Kubernetes has no expression for.
    """
    if options.image is None:
        raise UserError(
            "--to kubernetes needs a container image with crucible-batch installed",
            hint="--image REGISTRY/NAME:TAG",
        )
    env_file = shlex.quote(str(options.env_file or options.directory / ".env"))
    secret = (
        f"kubectl create secret generic crucible-batch --from-env-file={env_file}"
        "   # with MOLTAZINE_API_KEY"
    )
    # The container has the variables of the Secret.
    options = dataclasses.replace(options, env_file=None)
    claim = f"{MARK}\n{_CLAIM}"
    files = [
        ExportedFile(
            "crucible-batch-claim.yaml",
            claim,
            (secret, "kubectl apply -f crucible-batch-claim.yaml"),
        )
    ]
    return files + [_file(schedule, options) for schedule in schedules]


def _file(schedule: ScheduledManifest, options: ExportOptions) -> ExportedFile:
    name = resource_name(schedule.name, _LONGEST_NAME)
    if schedule.needs_files:
        check_paths([schedule.path.name], "Kubernetes")
        folder = f"/data/manifests/{schedule.name}"
        before = (
            f"# The manifest reads other files:"
            f" copy its folder to {folder} in the volume crucible-batch.\n"
        )
        manifest, mount, volume = f"{folder}/{schedule.path.name}", "", ""
    else:
        before = f"---\n{_config_map(schedule, name)}---\n"
        manifest, mount, volume = "/manifest/manifest.yaml", _MOUNT, _VOLUME.format(name=name)
    job = _cron_job(schedule, options, name, manifest=manifest, mount=mount, volume=volume)
    return ExportedFile(
        f"{name}.yaml", f"{MARK}\n{before}{job}", (f"kubectl apply -f {name}.yaml",)
    )


def _config_map(schedule: ScheduledManifest, name: str) -> str:
    if schedule.merged is None:
        text = schedule.path.read_text(encoding="utf-8-sig")
    else:
        text = schedule.merged.decode()
    if len(text.encode()) > _MOST_IN_A_CONFIG_MAP:
        raise UserError(
            f"{schedule.path}: the manifest is too large for a ConfigMap",
            hint="move its jobs to a table: foreach",
        )
    data = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"manifest.yaml": text},
    }
    return yaml_text([data])


def _cron_job(
    schedule: ScheduledManifest,
    options: ExportOptions,
    name: str,
    *,
    manifest: str,
    mount: str,
    volume: str,
) -> str:
    cron = plain_cron(schedule, "Kubernetes")
    words = [*run_arguments(schedule, options, manifest), "--log-format", "json"]
    late_s = _LATE_S
    if schedule.catch_up:
        late_s = min(86_400, shortest_interval(schedule, options.now))
    return _CRON_JOB.substitute(
        name=name,
        cron=cron,
        zone="Etc/UTC" if schedule.zone_name == "UTC" else schedule.zone_name,
        late_s=late_s,
        deadline_s=int(options.deadline_of(schedule)) + TIME_TO_STOP_S,
        image=json.dumps(options.image),
        # A JSON text is YAML as well. Kubernetes expands $(NAME).
        arguments=json.dumps([word.replace("$(", "$$(") for word in words], ensure_ascii=False),
        mount=mount,
        volume=volume,
    )
