"""Runs the command against a gateway of ours, as a user does, and has the gateway's book judged."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import yaml

from tests.preloaded import Process, start_command
from tests.verification.pricing.book import DYING, Ended, Started, now, plain
from tests.verification.pricing.gateway import KEY, Gateway, png
from tests.verification.pricing.judge import Verdict, judge, story
from tests.verification.pricing.world import World

KEPT = ("LANG", "LC_", "PYTHON")  # else a variable of the tests that is read at the start would keep them from forking
PATIENCE = 120  # seconds; a run that takes longer hangs


@dataclass(frozen=True)
class Wish:
    """One job of a manifest. Its name is made of its number; `image` is one of so many different pictures."""

    workflow: str = "flat"
    width: int = 512
    style: str | None = None
    image: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a process ended; no code: it was killed."""

    code: int | None
    seconds: float
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        return f"exit {self.code} after {self.seconds:.1f} s\n{self.stderr[-2000:]}"

    def events(self, kind: str) -> list[dict]:
        lines = [json.loads(line) for line in self.stdout.splitlines() if line.startswith("{")]
        return [line for line in lines if line["type"] == kind]


@dataclass
class Bench:
    """A folder with a manifest, and the gateway that it is run against."""

    folder: Path
    gateway: Gateway
    ceilings: dict[str, str] = field(default_factory=dict)
    kept: tuple[int, Verdict] | None = None  # the newest verdict, and of how many events

    @property
    def run_dir(self) -> Path:
        return self.folder / "outputs" / "priced" / "default"

    @property
    def report_text(self) -> str:
        return (self.run_dir / "report.json").read_text()

    @property
    def report(self) -> dict:
        return json.loads(self.report_text)

    def write(self, wishes: Iterable[Wish]) -> None:
        """The manifest, and the pictures that it names."""
        jobs = [self._entry(number, wish) for number, wish in enumerate(wishes, 1)]
        head = {"version": 1, "name": "priced", "workflow": "flat"}
        if self.ceilings:
            head["budget"] = dict(self.ceilings)
        self.folder.mkdir(exist_ok=True)
        (self.folder / "manifest.yaml").write_text(yaml.safe_dump({**head, "jobs": jobs}, sort_keys=False))

    def _entry(self, number: int, wish: Wish) -> dict[str, object]:
        params: dict[str, object] = {"size.width": wish.width, "sampler.seed": number}
        if wish.style:
            params["style.value"] = wish.style
        entry = {"name": f"j{number}", "prompt": f"a heron, {number}", "workflow": wish.workflow, "params": params}
        if wish.image is not None:
            picture = self.folder / f"in-{wish.image}.png"
            self.folder.mkdir(exist_ok=True)
            picture.write_bytes(png(str(uuid.uuid5(uuid.NAMESPACE_OID, str(wish.image)))))
            entry["image"] = picture.name
        return entry

    def run(self, budget: str | None, *options: str, kill_after: int | None = None, c: str = "64") -> Outcome:
        """`crucible-batch run`; with `kill_after`, kill -9 once so many jobs have been accepted."""
        money = ("--budget", budget) if budget is not None else ()
        cap = Decimal(budget if budget is not None else "Infinity")
        ceiling = {name: Decimal(value) for name, value in self.ceilings.items()}
        book = self.gateway.book
        book.note(Started(now(), cap, ceiling.get("max_credits_per_job"), ceiling.get("max_credits_per_upload")))
        outcome = self.command(
            "run", "manifest.yaml", *money, "-c", c, "-y", "--no-html", *options, kill_after=kill_after
        )
        if outcome.code is None:
            time.sleep(DYING)
        book.note(Ended(now(), killed=outcome.code is None))
        time.sleep(self.gateway.world.ledger_lag)  # then its last rows are there
        return outcome

    def command(self, *arguments: str, kill_after: int | None = None) -> Outcome:
        kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith(KEPT)}
        ours = {
            "HOME": str(self.folder),
            "NO_COLOR": "1",
            "MOLTAZINE_API_KEY": KEY,
            "CRUCIBLE_API_BASE": self.gateway.url,
        }
        began, accepted = time.monotonic(), self.gateway.book.accepted()
        process = start_command(arguments, cwd=self.folder, env=kept | ours)
        killed = kill_after is not None and self._kill(process, accepted + kill_after)
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            stderr += f"\nkilled after {PATIENCE} s"
        code = None if killed else process.returncode
        return Outcome(code, time.monotonic() - began, stdout, stderr)

    def _kill(self, process: Process, accepted: int) -> bool:
        while process.poll() is None:
            if self.gateway.book.accepted() >= accepted:
                process.kill()
                return True
            time.sleep(0.005)
        return False

    # what came of it

    def judged(self) -> Verdict:
        count = len(self.gateway.book.events)
        if self.kept is None or self.kept[0] != count:
            self.kept = count, judge(self.gateway.book)
        return self.kept[1]

    def story(self) -> str:
        return story(self.gateway.book)

    def why(self, outcome: Outcome | None = None) -> str:
        """All that a failed test needs to be understood."""
        verdict = self.judged()
        lines = [verdict.figures(), *map(str, verdict.breaches[:12])]
        if outcome is not None:
            lines.append(outcome.words)
        return "\n".join(["", *lines, self.story()])

    def books(self) -> Decimal:
        """What the report calls spent and held."""
        money = self.report["credits"]
        return Decimal(money["spent"]) + Decimal(money["held"])

    def books_are_right(self) -> bool:
        """What was charged is spent or held, and to the credit where nothing is in doubt any more."""
        charged, held = self.judged().charged, Decimal(self.report["credits"]["held"])
        return self.books() >= charged if held else self.books() == charged


def bench(folder: Path, world: World, wishes: Iterable[Wish], **ceilings: str) -> Bench:
    """A bench whose gateway is not open yet: `with made.gateway:`."""
    made = Bench(folder, Gateway(world), ceilings)
    made.write(wishes)
    return made


__all__ = ["Bench", "Outcome", "Wish", "bench", "plain"]
