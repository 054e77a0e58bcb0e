"""One run on several machines with a real S3 server, or with a directory that they share.

Its budget holds over all of them, and what is lost with a machine is in the log. The judge is the
gateway's ledger.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

from tests.verification.objectstore.conftest import S3Server, SharedFolder
from tests.verification.objectstore.scene import PRICE
from tests.verification.objectstore.test_s3_shards import playing

Place = S3Server | SharedFolder
BUDGET = 24
MADE = BUDGET // int(PRICE)


async def test_a_frozen_run_is_continued_elsewhere_and_buys_nothing_when_it_wakes(
    tmp_path: Path, place: Place
) -> None:
    """The budget is not enough for all jobs."""
    with playing(tmp_path, BUDGET, place) as scene:
        scene.write(20)
        words = ("run", "spring.yaml", "--out-dir", place.url)
        first = scene.command("first", *words)
        await scene.until_bought(4)
        first.send(signal.SIGSTOP)
        second = scene.command("second", *words)
        assert await second.ended() == 4, second.log
        scene.check_ledger()
        first.send(signal.SIGCONT)
        assert await first.ended() == 6, first.log
        assert "another process continues this run" in " ".join(first.log.split())
        scene.check_ledger()
        scene.check_pictures(MADE)
        for machine in ("first", "second"):
            shutil.rmtree(tmp_path / machine)
        third = scene.command("third", *words)
        assert await third.ended() == 4, third.log
        scene.check_ledger()
        scene.check_pictures(MADE)
        checked = scene.command("third", "check", place.url)
        assert await checked.ended() == 0, checked.log
        scene.check_silence()


async def test_a_run_that_is_active_is_left_alone(tmp_path: Path, place: Place) -> None:
    with playing(tmp_path, 400, place) as scene:
        scene.write(200)
        words = ("run", "spring.yaml", "--out-dir", place.url)
        first = scene.command("first", *words)
        await scene.until_bought(2)
        second = scene.command("second", *words)
        assert await second.ended() == 6, second.log
        assert "this run is running on another machine" in " ".join(second.log.split())
        assert first.process.poll() is None


async def test_of_two_that_begin_at_once_one_is_refused_and_the_other_is_continued_when_killed(
    tmp_path: Path, place: Place
) -> None:
    with playing(tmp_path, BUDGET, place) as scene:
        scene.write(20)
        words = ("run", "spring.yaml", "--out-dir", place.url)
        both = [scene.command(name, *words) for name in ("first", "second")]
        await scene.until_bought(3)
        while all(each.process.poll() is None for each in both):
            await asyncio.sleep(0.05)
        left, refused = sorted(both, key=lambda each: each.process.poll() is not None)
        assert await refused.ended() == 6, refused.log
        left.kill()
        third = scene.command("third", *words)
        assert await third.ended() == 4, third.log
        scene.check_ledger()
        scene.check_pictures(MADE)


async def test_a_killed_coordinator_is_continued_on_another_machine(
    tmp_path: Path, place: Place
) -> None:
    with playing(tmp_path, BUDGET, place) as scene:
        scene.write(20)
        words = ("run", "spring.yaml", "--on", "workers:2", "--divide", "3", "--out-dir", place.url)
        workers = [scene.command(name, "worker", place.url) for name in ("one", "two")]
        first = scene.command("first", *words)
        await scene.until_bought(4)
        first.kill()
        shutil.rmtree(tmp_path / "first")
        second = scene.command("second", *words)
        assert await second.ended() == 4, second.log
        scene.check_ledger()
        scene.check_pictures(MADE)
        for worker in workers:
            worker.send(signal.SIGTERM)
            assert await worker.ended() == 0, worker.log
