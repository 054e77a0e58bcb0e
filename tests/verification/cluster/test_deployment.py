"""The files of ``docs/deploy`` for clusters: their commands, run on a real database and the sandbox."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from crucible_batch.cluster import DSN_VARIABLE, ClusterAddress
from tests.integration.cli.conftest import KEY
from tests.preloaded import COMMAND
from tests.verification.cluster.postgres import PostgresServer
from tests.verification.cluster.scene import Scene, playing
from tests.verification.deploy.files import DEPLOY, KUBERNETES, commands, pod_command, resources, services, unit_values

_JOBS = 20
_STRACE = ("--kill-on-exit", "-f", "-qq", "-e", "signal=none")
_AS_ROOT = frozenset({"fchown"})
"""SQLite gives the files beside a database the owner of the database, but only if it runs as root."""
_SYSTEMD_GROUP = re.compile(r"^(@[a-z-]+)\n((?:    .+\n)+)", re.MULTILINE)


def manifest_of(file: str, name: str) -> str:
    (found,) = [
        each for path in KUBERNETES if path.name == file for each in resources(path) if each["kind"] == "ConfigMap"
    ]
    return str(found["data"][name])


def words_of(place: str) -> tuple[str, ...]:
    (found,) = [each for each in commands() if each.place == place]
    return found.words


@pytest.mark.slow
async def test_the_pods_of_kubernetes_run_a_manifest(tmp_path: Path, address: ClusterAddress) -> None:
    with playing(tmp_path, address.dsn, 50, "--time-scale", "0") as scene:
        (tmp_path / "spring.yaml").write_text(manifest_of("coordinator.yaml", "spring.yaml"), encoding="utf-8")
        worker = scene.quick(*pod_command("workers.yaml").words)
        await worker.says("waits for shards")
        words = [word.replace("/manifest/", "") for word in pod_command("coordinator.yaml").words]
        coordinator = scene.quick(*words)
        assert await coordinator.ended() == 0, coordinator.log
        scene.check_all_done(_JOBS)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0, worker.log
        assert "has ended: succeeded" in worker.log


async def test_the_services_of_compose_read_the_password_and_the_key_from_files(
    tmp_path: Path, server: PostgresServer
) -> None:
    database = server.create_database()
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE compose LOGIN PASSWORD 'the-secret'")
        connection.execute(f"GRANT CREATE ON DATABASE {database} TO compose".encode())
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"{server.directory}:5432:{database}:compose:the-secret\n", encoding="utf-8")
    passfile.chmod(0o600)
    dsn = services()["worker"]["environment"][DSN_VARIABLE]
    dsn = dsn.replace("batch@postgres:5432/batch?", f"compose@/{database}?host={server.directory}&")
    dsn = dsn.replace("/run/secrets/pgpass", str(passfile))
    assert "the-secret" not in dsn
    with playing(tmp_path, dsn, 50, "--time-scale", "0") as scene:
        (tmp_path / "worker.env").write_text(f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={scene.gateway}\n")
        scene.write(4)
        without = {"MOLTAZINE_API_KEY": "", "CRUCIBLE_API_BASE": ""}
        files = {"/run/secrets/worker": "worker.env", "/manifests/manifest.yaml": "spring.yaml"}
        worker = scene.quick(*(files.get(word, word) for word in words_of("compose worker")), **without)
        await worker.says("waits for shards")
        words = [files.get(word, word) for word in words_of("compose coordinator")]
        coordinator = scene.quick(*words, **without)
        assert await coordinator.ended() == 0, coordinator.log
        scene.check_all_done(4)
        assert "the-secret" not in worker.log + coordinator.log


def allowed_calls() -> set[str]:
    """Return the system calls that the unit of workers allows, by systemd's own groups."""
    if shutil.which("systemd-analyze") is None:
        pytest.fail("this is tested with systemd, which is not installed (Debian: apt-get install systemd)")
    words = ["systemd-analyze", "syscall-filter", "--no-pager"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    groups = {name: re.findall(r"^    (@?[a-z0-9_-]+)$", text, re.M) for name, text in _SYSTEMD_GROUP.findall(shown)}

    def calls(name: str) -> set[str]:
        return {call for each in groups[name] for call in (calls(each) if each.startswith("@") else {each})}

    filters = unit_values(DEPLOY / "systemd" / "crucible-batch-worker.service")["Service"]["SystemCallFilter"]
    assert filters == ["@system-service", "~@privileged @resources"]
    return calls("@system-service") - calls("@privileged") - calls("@resources")


@pytest.mark.slow
async def test_the_unit_allows_each_system_call_of_a_worker(tmp_path: Path, address: ClusterAddress) -> None:
    found = shutil.which("strace")
    if found is None:
        pytest.fail("this is tested with strace, which is not installed (Debian: apt-get install strace)")
    with playing(tmp_path, address.dsn, 50, "--time-scale", "0") as scene:
        scene.write(4)
        trace = tmp_path / "trace"
        words = words_of("crucible-batch-worker.service")
        assert words[:2] == ("worker", "--processes")
        worker = scene.start(found, *_STRACE, "-o", str(trace), COMMAND, *words[:2], "1")
        await worker.says("waits for shards")
        coordinator = scene.coordinator("--shards", "1")
        assert await coordinator.ended() == 0, coordinator.log
        scene.check_all_done(4)
        _stop(scene)
        assert await worker.ended() == 0, worker.log
        made = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    assert {"openat", "connect", "fsync", "rename"} <= made
    assert made - allowed_calls() - _AS_ROOT == set()


def _stop(scene: Scene) -> None:
    """Stop the worker as systemd does: the signal is for the worker and not for strace."""
    process = scene.processes[0].process
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    subprocess.run(["kill", "-TERM", child], check=True)
