"""No command opens the file of a live database by itself, and a status beside a run costs the run
nothing.

The file of a journal or of a budget account is opened by SQLite only: the locks of a process on a
file end when it closes any descriptor of the file, also one that ``open()`` made.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, running_sandbox
from tests.harness.features import has_feature
from tests.harness.forked_commands import start_program


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cli]:
    """The command, and a gateway of its own, whose ledger has nothing else."""
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        yield Cli(tmp_path, url)


BESIDE_A_STATUS = """
    import asyncio, os, subprocess, sys
    from pathlib import Path
    import crucible_batch as api
    from crucible_batch.settings import Settings

    url, manifest, read = sys.argv[1:]
    OTHER = (
        "import sqlite3; journal = sqlite3.connect('out/.crucible/journal.sqlite3');"
        " journal.execute('SELECT count(*) FROM events').fetchone(); journal.close()"
    )
    accepted = []

    class Beside:
        '''After the 4th purchase, this process and another one read its state; it is killed after
        the 9th.
        '''

        def notify(self, message):
            event = getattr(message, "event", None)
            if type(event).__name__ != "Accepted":
                return
            accepted.append(event.job_id)
            Path("accepted.txt").write_text("\\n".join(accepted))
            if len(accepted) == 4 and read == "read":
                api.read_status("out")
                subprocess.run([sys.executable, "-IS", "-c", OTHER], check=True)
            if len(accepted) == 9:
                os.kill(os.getpid(), 9)

    settings = Settings(api_key="moltazine_sandbox", base_url=url)
    how = dict(out_dir="out", observer=Beside(), settings=settings, concurrency=1)
    asyncio.run(api.run(Path(manifest), **how))
"""


def ledger_of(url: str | None) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        rows: list[dict[str, Any]] = json.load(answer, parse_float=Decimal)["ledger"]
    return rows


@pytest.mark.parametrize("read", ["read", "not read"])
def test_what_was_bought_after_a_status_is_in_the_journal_after_a_kill(own: Cli, read: str) -> None:
    """A purchase that an observer was told of was journalled before."""
    manifest = own.write(
        "beside", "- {name: fox, prompt: a fox, repeat: 30}", budget="{credits: 24}"
    )
    killed = start_program(
        textwrap.dedent(BESIDE_A_STATUS),
        str(own.url),
        manifest,
        read,
        cwd=own.cwd,
        env=own.environment,
    )
    assert killed.wait(timeout=240) == -signal.SIGKILL
    told = (own.cwd / "accepted.txt").read_text(encoding="utf-8").split()
    assert len(told) == 9
    with closing(sqlite3.connect(own.cwd / "out/.crucible/journal.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = (
            "SELECT json_extract(body, '$.job_id') FROM events WHERE type = 'Accepted' ORDER BY seq"
        )
        assert [row[0] for row in connection.execute(query)] == told
    assert own("run", manifest, "--out-dir", "out", "-q").code == 4
    reserved = [
        abs(Decimal(row["amount"])) for row in ledger_of(own.url) if row["entry_type"] == "reserve"
    ]
    assert sum(reserved) == 24
    if has_feature("check"):
        audit = own("check", "out", "--ledger", "--json")
        assert audit.code == 0, audit.err
