"""The crontab that ``schedule export`` prints, run by Debian's cron for two minutes.

Cron runs in a mount namespace of its own, with an empty spool, no ``/etc/cron.d`` and a
``sendmail`` that keeps each mail: it neither reads nor changes a crontab of this machine.
"""

from __future__ import annotations

import email
import json
import os
import shlex
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import KEY, running_sandbox
from tests.harness.forked_commands import COMMAND
from tests.verification.schedulers.conftest import needed

_PATIENCE_S = 180
_MANIFEST = """\
version: 1
name: tick
workflow: zimage-base
params: {size.width: 64, size.height: 64}
run_id: "{{ scheduled_at }}"
schedule: {cron: "* * * * *"}
budget: {credits: 50}
jobs:
  - {name: tick, prompt: "tick {{ scheduled_at }}"}
"""

_SENDMAIL = """\
#!/bin/sh
cat > "$(mktemp "$MAILS/mail.XXXXXX")"
"""

_START = """\
set -e
mount --make-rprivate /
spool=/var/spool/cron/crontabs
mount -t tmpfs -o mode=1730,gid="$(stat -c %g "$spool")" tmpfs "$spool"
mount -t tmpfs tmpfs /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs tmpfs /run
mkdir "$BASE/usr-sbin" "$BASE/new-sbin"
mount --bind /usr/sbin "$BASE/usr-sbin"
for program in "$BASE"/usr-sbin/*; do
  [ "${program##*/}" = sendmail ] || ln -s "$program" "$BASE/new-sbin/"
done
cp "$BASE/sendmail" "$BASE/new-sbin/sendmail"
mount --bind "$BASE/new-sbin" /usr/sbin
crontab "$BASE/crontab"
exec "$BASE/usr-sbin/cron" -f
"""


@contextmanager
def _cron(base: Path, crontab: str) -> Iterator[Path]:
    """Run cron with one crontab, and give the folder of its mails."""
    needed("cron", "cron")
    if subprocess.run(
        [needed("unshare", "util-linux"), "--mount", "true"], capture_output=True, check=False
    ).returncode:
        pytest.fail(
            "cron is tested with a spool of its own, in a mount namespace, "
            "which takes root (CAP_SYS_ADMIN)"
        )
    mails = base / "mails"
    mails.mkdir()
    (base / "crontab").write_text(crontab)
    (base / "sendmail").write_text(_SENDMAIL.replace("$MAILS", shlex.quote(str(mails))))
    (base / "sendmail").chmod(0o755)
    log = base / "cron.log"
    with log.open("wb") as output:
        cron = subprocess.Popen(
            [needed("unshare", "util-linux"), "--mount", "sh", "-c", _START],
            env=os.environ | {"BASE": str(base)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield mails
    finally:
        still_runs = cron.poll() is None
        cron.send_signal(signal.SIGTERM)
        cron.wait(timeout=30)
        assert still_runs, log.read_text()


def _until(found: Callable[[], Any], what: Callable[[], str]) -> Any:
    until = time.monotonic() + _PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < until, what()
        time.sleep(0.2)  # between two looks at what another program does
    return value


def _text_of(mail: Path) -> str:
    """Return the text of a mail; cron writes it as quoted-printable."""
    text = email.message_from_bytes(mail.read_bytes()).get_payload(decode=True)
    return text.decode() if isinstance(text, bytes) else ""


def _ask(url: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data), timeout=30) as answer:
        return json.load(answer)


def _reports(folder: Path) -> dict[str, str]:
    """Return the status of each run that has been reported, by run id."""
    found = sorted(folder.glob("outputs/tick/*/report.json"))
    return {path.parent.name: json.loads(path.read_text())["status"] for path in found}


def _shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def crontab_of_this_user() -> Iterator[None]:
    """Fail if the test changes the crontab of the user who runs it."""

    def stands() -> tuple[int, str]:
        listed = subprocess.run(
            [needed("crontab", "cron"), "-l"], capture_output=True, text=True, check=False
        )
        return listed.returncode, listed.stdout

    before = stands()
    yield
    assert stands() == before


@pytest.mark.usefixtures("crontab_of_this_user")
def test_cron_buys_a_night_silently_and_mails_that_the_next_one_is_blocked(tmp_path: Path) -> None:
    folder, base = tmp_path / "100% ready", tmp_path / "cron"
    folder.mkdir()
    base.mkdir()
    (folder / "tick.yaml").write_text(_MANIFEST)
    with running_sandbox("--time-scale", "0", "--credits", "3") as url:
        (folder / ".env").write_text(f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={url}\n")
        (folder / ".env").chmod(0o600)
        exported = subprocess.run(
            [COMMAND, "schedule", "export", "tick.yaml", "--to", "cron"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        with _cron(base, exported) as mails:

            def told() -> str:
                texts = [*map(_text_of, mails.iterdir()), (base / "cron.log").read_text()]
                return "\n".join([str(_reports(folder)), *texts])

            _until(lambda: len(_reports(folder)) == 2, told)
            mail = _until(
                lambda: [text for path in mails.iterdir() if (text := _text_of(path))], told
            )[0]

        first, second = _reports(folder)
        assert _reports(folder) == {first: "succeeded", second: "blocked"}
        assert len(list(folder.glob(f"outputs/tick/{first}/tick/*.png"))) == 1
        assert f"tick/{second}" in mail
        assert "INSUFFICIENT_CREDITS" in mail
        assert "exit code 4" in mail
        assert KEY not in told()
        state = _ask(url, "/_sandbox/state")
        assert [job["prompt"] for job in state["jobs"]] == [f"tick {first}"]

        # The price falls, and the line of the crontab is run once more, for the night that was
        # blocked.
        _ask(url, "/_sandbox/config", {"prices": {"zimage-base": 1}})
        line = exported.splitlines()[-1].split(maxsplit=5)[5].replace("\\%", "%")
        resumed = _shell(
            f"export CRUCIBLE_BATCH_SCHEDULED_AT={shlex.quote(second)}; {line}", folder
        )
        assert (resumed.returncode, resumed.stdout) == (0, "")
        assert _reports(folder) == {first: "succeeded", second: "succeeded"}
        state = _ask(url, "/_sandbox/state")
        assert [job["prompt"] for job in state["jobs"]] == [f"tick {first}", f"tick {second}"]
        assert len({job["idempotency_key"] for job in state["jobs"]}) == 2
