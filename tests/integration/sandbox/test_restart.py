"""A state file: what a restart remembers."""

import contextlib
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.world import World

REMEMBERED = ("audit", "ledger", "jobs", "assets")


async def test_a_restart_shows_the_same_credits_jobs_keys_and_bytes(
    start: Any, picture: Any, tmp_path: Path
) -> None:
    state_file = tmp_path / "sandbox.db"
    async with start(state=state_file) as client:
        asset_id = await client.upload(
            picture("navy"), filename="cat.png", metadata={"deep": [{"share": 0.1}]}
        )
        job = await client.job(
            "qwen-edit", "k", image__image=asset_id, strength__value=0.3, prompt__value="ocean"
        )
        output = (await client.storage.get(job["outputs"][0]["url"])).content
        await client.configure(faults="fail=1")
        await client.generate("zimage-base", "k2")
        before = await client.state()
    async with start(state=state_file) as client:
        after = await client.state()
        assert [after[part] for part in REMEMBERED] == [before[part] for part in REMEMBERED]
        again = await client.job(
            "qwen-edit", "k", image__image=asset_id, strength__value=0.3, prompt__value="ocean"
        )
        assert again["job_id"] == job["job_id"]
        assert (await client.storage.get(again["outputs"][0]["url"])).content == output
        assert (await client.job("zimage-base", "k2"))["status"] == "failed"
        new = await client.job("zimage-base", "k3")
        assert new["job_id"] not in {job["job_id"] for job in before["jobs"]}
        assert (await client.state())["audit"]["problems"] == []


def test_a_state_file_gives_no_key_away(tmp_path: Path) -> None:
    config = SandboxConfig(accounts={"moltazine_canary": Decimal(1)})
    with Store(tmp_path / "s.db") as store:
        store.save(World(config, Faults((), 0), 0).take_changes())
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.iterdir())


def test_two_sandboxes_can_not_share_a_state(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.save([])
        with pytest.raises(OSError, match="locked"):
            Store(tmp_path / "s.db")


def test_what_is_no_state_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    for path in (tmp_path / "notes.txt", tmp_path, tmp_path / "nowhere" / "s.db"):
        with pytest.raises(OSError, match="state file"):
            Store(path)


def test_the_database_of_another_program_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE record (theirs)")
        other.execute("CREATE TABLE diary (theirs)")
    before = path.read_bytes()
    with pytest.raises(OSError, match="database of another program"):
        Store(path)
    assert path.read_bytes() == before
