"""A night with rejections at a gateway that we did not write: a table of jobs, some of them
rejected, kills on the way, some rejected again, and then all local state is lost.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ACCEPTANCE = Path(__file__).parents[2] / "acceptance"
JOBS, PRICE = 30, Decimal("0.75")
RUN = ("run", "manifest.yaml", "--budget", "40")
RUN_DIR = "outputs/heroes/default"
MANIFEST = f"""\
version: 1
name: heroes
workflow: bare
rejects: rejects.txt
jobs:
  - {{name: hero, prompt: "heron {{{{ repeat }}}}", repeat: {JOBS}}}
"""


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ACCEPTANCE))
    import judging

    return judging


def files(folder: Path) -> dict[str, bytes]:
    pictures = (folder / RUN_DIR).rglob("*.jpg")
    return {str(path.relative_to(folder)): path.read_bytes() for path in pictures}


def sums(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            job["name"],
            job["generation"],
            job["idempotency_key"],
            [output["sha256"] for output in job["outputs"]],
            [(take["sha256"], take["rejected"]) for take in job["takes"]],
        )
        for job in report["jobs"]
    ]


class Asked(dict[str, Any]):
    """What a job was asked for, and its key, which is no part of it."""

    def __init__(self, asked: dict[str, Any], key: str) -> None:
        super().__init__(asked)
        self.key = key


def test_rejected_pictures_are_bought_once_whatever_happens(
    judging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = sys.modules["other_gateway"]
    draw = served.render

    def render(workflow: str, asked: Asked, *of: Any) -> bytes:
        content: bytes = draw(workflow, {**asked, "seed": asked.key}, *of)
        return content

    monkeypatch.setattr(served, "render", render)
    with served.OtherGateway() as gateway:
        victim: list[Any] = []

        def sold(what: str, count: int) -> None:
            """Each job has another picture, as with a seed of its own."""
            job = list(gateway.jobs.values())[-1]
            job.asked = Asked(job.asked, job.key)
            if victim and (what, count) == ("job", victim[1]):
                os.kill(victim[0].pid, signal.SIGKILL)
                victim[0].wait(120)

        def killed_at(count: int) -> None:
            with gateway.lock:  # no purchase before the process is known
                victim[:] = [judging.start(gateway, tmp_path, *RUN), count]
            assert victim[0].wait(120) == -signal.SIGKILL
            victim.clear()

        def command(*words: str) -> str:
            out: str = judging.command(gateway, tmp_path, *words, expect=0)
            return out

        gateway.before_answer = sold
        (tmp_path / "manifest.yaml").write_text(MANIFEST)
        command(*RUN)
        bad = [f"hero-{number}" for number in range(1, 7)]
        command("reject", RUN_DIR, *bad, "--reason", "blurred")
        killed_at(JOBS + 2)
        killed_at(JOBS + 4)
        command(*RUN)
        command("reject", RUN_DIR, *bad[:2])
        command(*RUN)
        assert len(gateway.jobs) == JOBS + 6 + 2
        assert gateway.spent() == PRICE * (JOBS + 6 + 2)
        report = judging.report_of(tmp_path, "heroes")
        judging.assert_contract_kept(gateway)
        generations = [job["generation"] for job in report["jobs"]]
        assert generations == [2, 2, 1, 1, 1, 1] + [0] * (JOBS - 6)
        assert len(files(tmp_path)) == JOBS + 6 + 2
        assert len(set(files(tmp_path).values())) == JOBS + 6 + 2

        before, takes = files(tmp_path), sums(report)
        shutil.rmtree(tmp_path / "outputs")
        command(*RUN)
        assert len(gateway.jobs) == JOBS + 6 + 2
        assert gateway.spent() == PRICE * (JOBS + 6 + 2)
        assert files(tmp_path) == before
        assert sums(judging.report_of(tmp_path, "heroes")) == takes
