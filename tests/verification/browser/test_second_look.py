"""The morning after a run of 300 pictures, at a gateway that we did not write: a few are tried
first, the bad ones are rejected on the page by keyboard alone, and only these are bought again,
whatever is killed or lost. And a night whose empty pictures are rejected by a check.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.features.redo.test_another_gateway import ACCEPTANCE, Asked, files, sums
from tests.features.view.conftest import viewing
from tests.harness.commands import KEY, Cli

JOBS, BAD, AGAIN, PRICE = 300, 20, 3, Decimal("0.75")
RUN_DIR = "outputs/heroes/default"
MANIFEST = """\
version: 1
name: heroes
workflow: bare
rejects: rejects.txt
budget: {credits: 260, max_credits_per_job: 1}
jobs:
  - {name: "hero-{{ row.number }}", foreach: heroes.csv, prompt: "heron {{ row.number }}"}
"""
NIGHTS, NIGHT_JOBS, MOST_REDO = 5, 60, 3
NIGHTLY = f"""\
version: 1
name: heroes
workflow: bare
rejects: rejects.txt
budget: {{credits: 60, max_credits_per_job: 1}}
checks: {{blank: reject}}
redo: {{max: {MOST_REDO}}}
jobs:
  - {{name: hero, prompt: "heron {{{{ repeat }}}}", repeat: {NIGHT_JOBS}}}
"""


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ACCEPTANCE))
    import judging

    return judging


class Morning:
    """A folder with a manifest, a gateway that draws another picture for each key, and commands."""

    def __init__(
        self, judging: Any, folder: Path, gateway: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.judging, self.folder, self.gateway = judging, folder, gateway
        self.victim: list[Any] = []
        draw = sys.modules["other_gateway"].render

        def render(workflow: str, asked: Asked, *of: Any) -> bytes:
            content: bytes = draw(workflow, {**asked, "seed": asked.key}, *of)
            return self.drawn(asked.key, content)

        monkeypatch.setattr(sys.modules["other_gateway"], "render", render)
        gateway.before_answer = self.sold

    def drawn(self, _key: str, content: bytes) -> bytes:
        return content

    def sold(self, what: str, count: int) -> None:
        job = list(self.gateway.jobs.values())[-1]
        job.asked = Asked(job.asked, job.key)
        if self.victim and (what, count) == ("job", self.victim[1]):
            os.kill(self.victim[0].pid, signal.SIGKILL)
            self.victim[0].wait(120)

    def command(self, *words: str, code: int = 0) -> str:
        out: str = self.judging.command(self.gateway, self.folder, *words, expect=code)
        return out

    def killed_at(self, count: int) -> None:
        with self.gateway.lock:  # no purchase before the process is known
            process = self.judging.start(self.gateway, self.folder, "run", "manifest.yaml")
            self.victim[:] = [process, count]
        assert process.wait(240) == -signal.SIGKILL
        self.victim.clear()

    @property
    def bought(self) -> int:
        assert self.gateway.spent() == PRICE * len(self.gateway.jobs)
        return len(self.gateway.jobs)

    def lines(self) -> list[str]:
        path = self.folder / "rejects.txt"
        return path.read_text().splitlines() if path.exists() else []


def culled(cli: Cli, browser: Browser, keys: Callable[[Page], None], shot: Path) -> None:
    """Open the first picture in the viewer, press keys, and wait until what they did is saved."""
    with viewing(cli, "--control") as viewer:
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.goto(f"{viewer.url}runs/{viewer.key('heroes/default')}/#control={viewer.token}")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator("#detail .frame img")).to_have_js_property("complete", True)
        keys(page)
        expect(page.locator("#detail .saving")).to_have_text("Saved")
        page.screenshot(path=shot)
        page.context.close()


def test_bad_pictures_are_rejected_by_keyboard_and_only_these_are_bought_again(
    judging: Any, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sys.modules["other_gateway"].OtherGateway() as gateway:
        gateway.api_key = KEY
        morning = Morning(judging, tmp_path, gateway, monkeypatch)
        rows = "".join(f"{number}\n" for number in range(JOBS))
        (tmp_path / "heroes.csv").write_text(f"number\n{rows}")
        (tmp_path / "manifest.yaml").write_text(MANIFEST)
        run = ("run", "manifest.yaml")

        tried = morning.command(*run, "--sample", "10")
        assert "all jobs about 225 credits" in " ".join(tried.split())
        assert morning.bought == 10
        morning.command(*run)
        assert morning.bought == JOBS

        cli = Cli(tmp_path, gateway.api_url)

        def reject_every_other(page: Page) -> None:
            for _ in range(BAD):
                page.keyboard.press("x")  # and the next
                page.keyboard.press("ArrowRight")

        culled(cli, browser, reject_every_other, tmp_path / "culled.png")
        assert len(morning.lines()) == BAD
        assert morning.bought == JOBS
        morning.killed_at(JOBS + 5)
        morning.killed_at(JOBS + 12)
        morning.command(*run)
        assert morning.bought == JOBS + BAD

        def reject_the_first_retakes(page: Page) -> None:
            for _ in range(AGAIN):
                page.keyboard.press("x")
                page.keyboard.press("ArrowRight")

        culled(cli, browser, reject_the_first_retakes, tmp_path / "culled-again.png")
        assert len(morning.lines()) == BAD + AGAIN
        morning.command(*run)
        assert morning.bought == JOBS + BAD + AGAIN
        report = judging.report_of(tmp_path, "heroes")
        generations = [job["generation"] for job in report["jobs"]]
        assert sorted(generations)[-BAD:] == [1] * (BAD - AGAIN) + [2] * AGAIN
        assert len(files(tmp_path)) == JOBS + BAD + AGAIN
        judging.assert_contract_kept(gateway)

        before, takes = files(tmp_path), sums(report)
        shutil.rmtree(tmp_path / "outputs")
        out = " ".join(morning.command(*run).split())
        assert "0 spent" in out
        assert morning.bought == JOBS + BAD + AGAIN
        assert files(tmp_path) == before
        assert sums(judging.report_of(tmp_path, "heroes")) == takes


def is_black(key: str) -> bool:
    """Whether the gateway draws nothing for this key: for a tenth of them."""
    return hashlib.sha256(key.encode()).digest()[0] < 26


def test_a_night_of_black_pictures_ends_within_its_maximum_and_its_budget(
    judging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sys.modules["other_gateway"].OtherGateway() as gateway:
        morning = Morning(judging, tmp_path, gateway, monkeypatch)

        def drawn(key: str, content: bytes) -> bytes:
            if not is_black(key):
                return content
            black = io.BytesIO()
            with Image.open(io.BytesIO(content)) as picture:
                Image.new("RGB", picture.size).save(black, picture.format)
            return black.getvalue()

        monkeypatch.setattr(morning, "drawn", drawn)
        (tmp_path / "manifest.yaml").write_text(NIGHTLY)
        bought = []
        for _ in range(NIGHTS):
            out = judging.start(gateway, tmp_path, "run", "manifest.yaml")
            assert out.wait(240) in {0, 1}
            bought.append(morning.bought)
        black = sum(is_black(job.key) for job in gateway.jobs.values())
        assert black > 0
        # The first night buys all again that its checks reject, and the others nothing more.
        assert NIGHT_JOBS < bought[0] <= NIGHT_JOBS + black
        assert bought == [bought[0]] * NIGHTS
        assert gateway.spent() <= 60
        report = judging.report_of(tmp_path, "heroes")
        for job in report["jobs"]:
            takes = [*job["outputs"], *job["takes"]]
            assert len(takes) <= 1 + MOST_REDO
            if job["outputs"]:
                assert not is_black(job["idempotency_key"])
        keys = [job.key for job in gateway.jobs.values()]
        assert len(keys) == len(set(keys))
        judging.assert_contract_kept(gateway)
