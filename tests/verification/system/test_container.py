"""What the container image runs, without a container: the wheel in an environment of its own, with
a read-only root.

The wheel is built from the files that the Dockerfile copies, and runs with its variables and its
user id, which this machine does not know. Nothing but the data directory can be written. The
scheduler of the Compose file runs in a tree with the changes that the Dockerfile makes. Requires
root, for the mounts, and cron.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
_ENTER = """
set -e
mount --bind "$DATA" "$DATA"
mount -o remount,bind,ro /
cd "$DATA"
exec setpriv --reuid "$ID" --regid "$ID" --clear-groups --no-new-privs --inh-caps=-all env -i "$@"
"""


def instruction(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, flags=re.MULTILINE)


@dataclass(frozen=True)
class Image:
    """The installed wheel and the data directory."""

    prefix: Path
    data: Path

    @property
    def variables(self) -> list[str]:
        """The variables of the Dockerfile, with the directories of this machine."""
        (line,) = instruction("ENV")
        text = line.replace("/opt/crucible-batch", str(self.prefix)).replace(
            "$PATH", os.environ["PATH"]
        )
        return [re.sub(r"=/data\b", f"={self.data}", each) for each in text.split()]

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        (user,) = instruction("USER")
        settings = [f"{name}={value}" for name, value in more.items()]
        return subprocess.Popen(
            [
                "unshare",
                "--mount",
                "bash",
                "-c",
                _ENTER,
                "bash",
                *self.variables,
                *settings,
                "crucible-batch",
                *words,
            ],
            env={**os.environ, "DATA": str(self.data), "ID": user.partition(":")[0]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


def _interpreter() -> str:
    """Return an interpreter that every user may start.

    That of the tests may be in a user's home.
    """
    for found in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        parents = [path.stat().st_mode & 0o001 for path in Path(found).parents if path.exists()]
        if os.access(found, os.X_OK) and all(parents):
            return found
    return pytest.fail(
        "there is no Python that every user may start (Debian: apt-get install python3)"
    )


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(
        tempfile.mkdtemp(prefix="crucible-image-", dir="/var/tmp")
    )  # readable for others, as pytest's is not
    folder.chmod(0o755)
    try:
        for words in instruction(r"COPY(?! --from)"):
            *sources, _ = words.split()
            for source in sources:
                ignore = shutil.ignore_patterns("__pycache__", ".env")
                path, target = ROOT / source, folder / "src" / source
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(path, target, ignore=ignore) if path.is_dir() else shutil.copy(
                    path, target
                )
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run(
            [
                *pip,
                "wheel",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--wheel-dir",
                folder / "wheels",
                folder / "src",
            ],
            check=True,
        )
        (wheel,) = (folder / "wheels").iterdir()
        prefix = folder / "opt"
        subprocess.run([_interpreter(), "-m", "venv", "--without-pip", prefix], check=True)
        install = [*pip, "--python", prefix / "bin/python", "install", "--quiet", "--no-deps"]
        lock = folder / "src" / "requirements" / "run.txt"
        subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
        subprocess.run([*install, wheel], check=True)
        shutil.rmtree(folder / "src")
        data = folder / "data"
        data.mkdir()
        uid, _, gid = instruction("USER")[0].partition(":")
        os.chown(data, int(uid), int(gid))
        data.chmod(0o770)
        yield Image(prefix, data)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def gateway(image: Image) -> Iterator[dict[str, str]]:
    """The local gateway, run as the image runs it, with the variables for it."""
    process = image.start(
        "sandbox", "--time-scale", "0", "--state", str(image.data / "sandbox.sqlite3")
    )
    assert process.stdout is not None
    exports = [process.stdout.readline().removeprefix("export ").strip() for _ in range(2)]
    yield dict(line.split("=", 1) for line in exports)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def manifest(image: Image, name: str) -> str:
    path = image.data.parent / f"{name}.yaml"  # not writable for the user
    path.write_text(
        f"version: 1\nname: {name}\nworkflow: zimage-base\nbudget: {{credits: 50}}\n"
        "jobs: [{name: fox, prompt: a fox, repeat: 3}]\n"
    )
    return str(path)


def test_nothing_else_can_be_written(image: Image) -> None:
    for place in ("/", "/tmp", "/var/tmp", "/etc", str(image.prefix), str(image.data.parent)):
        code, _, err = image.run("init", f"{place}/starter")
        assert (code, "Read-only file system" in err) == (2, True), err
    code, _, err = image.run("init", str(image.data / "starter"))
    assert code == 0, err


def test_a_run_writes_below_the_data_directory_only(image: Image, gateway: dict[str, str]) -> None:
    path = manifest(image, "contained")
    code, out, err = image.run(
        "run", path, CRUCIBLE_BATCH_METRICS_TEXTFILE=str(image.data), **gateway
    )
    assert code == 0, err
    assert "3 of 3 jobs succeeded" in out
    run_dir = image.data / "outputs/contained/default"
    assert (run_dir / "report.html").is_file()
    assert len(list(run_dir.glob("fox*/*.png"))) == 3
    assert (image.data / "crucible-batch-contained.prom").is_file()
    assert (image.data / "state/crucible-batch").is_dir(), "what runs remember is on the volume"
    uid = int(instruction("USER")[0].partition(":")[0])
    assert {each.stat().st_uid for each in image.data.rglob("*")} == {uid}
    code, out, _ = image.run("run", path, **gateway)
    assert (code, "0 spent by this run" in out) == (0, True)


def test_other_commands_need_no_home_and_no_user_name(
    image: Image, gateway: dict[str, str]
) -> None:
    manifest(image, "contained")
    assert image.run("doctor", **gateway)[0] == 0
    assert image.run("status", "outputs", **gateway)[0] == 0
    assert image.run("check", "outputs/contained/default", **gateway)[0] == 0


def test_sigterm_stops_a_run_in_good_order(image: Image, gateway: dict[str, str]) -> None:
    """As docker stop does: the signal of the Dockerfile, to the process itself."""
    path = Path(manifest(image, "stopped"))
    path.write_text(path.read_text().replace("repeat: 3", "repeat: 300"))
    assert instruction("STOPSIGNAL") == ["SIGTERM"]
    process = image.start("run", str(path), "--budget", "2000", "--json", "-c", "2", **gateway)
    assert process.stdout is not None
    for line in process.stdout:
        if '"accepted"' in line:
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert '"exit_code": 143' in out.splitlines()[-1]
    assert (image.data / "outputs/stopped/default/report.json").is_file()


_ENTER_COMPOSE = """
set -e
mount -t tmpfs tmpfs "$BASE"
mkdir "$BASE/changes" "$BASE/work" "$BASE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/changes,workdir=$BASE/work" "$BASE/root"
mount --bind "$DATA" "$BASE/root$DATA"
chroot "$BASE/root" sh -c "$BUILD"
mkdir "$BASE/root/manifests"
mount --bind "$MANIFESTS" "$BASE/root/manifests"
mount -t proc proc "$BASE/root/proc"
mount --rbind /dev "$BASE/root/dev"
mount -t tmpfs tmpfs "$BASE/root/run"
mount -t tmpfs tmpfs "$BASE/root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$BASE/root/etc/cron.d"
mkdir "$BASE/root/run/secrets"
install --owner=10001 --mode=400 "$KEY" "$BASE/root/run/secrets/gateway"
mount -o remount,bind,ro "$BASE/root"
exec chroot "$BASE/root" env --chdir "$DATA" setpriv \\
  --bounding-set=-all,$CAPABILITIES --inh-caps=-all --no-new-privs env -i "$@"
"""


def _build_steps() -> str:
    """Return what the Dockerfile does in the final image, without the packages: this machine has
    cron.
    """
    *_, users, cron = instruction("RUN")
    return f"{users}; {re.sub(r'^.*lists/[*] *&&', '', cron)}"


def test_the_scheduler_of_the_compose_file_runs_a_manifest_and_stops_it_in_good_order(
    image: Image, gateway: dict[str, str]
) -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"][
        "scheduler"
    ]
    folder, base = image.data.parent / "manifests", image.data.parent / "overlay"
    folder.mkdir()
    base.mkdir()
    path = Path(manifest(image, "scheduled")).rename(folder / "scheduled.yaml")
    text = (
        path.read_text()
        .replace("repeat: 3", "repeat: 2000")
        .replace("credits: 50", "credits: 9000")
    )
    path.write_text(
        text + "concurrency: 2\nrun_id: '{{ scheduled_at }}'\nschedule: {cron: '* * * * *'}\n"
    )
    key = image.data.parent / "gateway.env"
    key.write_text("".join(f"{name}={value}\n" for name, value in gateway.items()))
    settings = [f"{name}={value}" for name, value in service["environment"].items()]
    command = [*service["entrypoint"], *(word.replace("$$", "$") for word in service["command"])]
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [*namespaces, "bash", "-c", _ENTER_COMPOSE, "bash", *image.variables, *settings, *command],
        env={
            **os.environ,
            "BASE": str(base),
            "BUILD": _build_steps(),
            "CAPABILITIES": ",".join(f"+{name.lower()}" for name in service["cap_add"]),
            "DATA": str(image.data),
            "KEY": str(key),
            "MANIFESTS": str(folder),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 150
    while not (runs := list(image.data.glob("outputs/scheduled/*/receipts.jsonl"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "cron starts nothing"
        time.sleep(0.1)  # between two looks at another process
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert "exit code 143" in out, "what a run prints is in the log of the container"
    report = json.loads((runs[0].parent / "report.json").read_text())
    assert report["status"] == "interrupted", out
