"""A changed job's picture gets the place, and the older one, which is ours, moves aside and is not
lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import signal
import textwrap

import httpx
import pytest

import crucible_batch as api
from crucible_batch.core.events import Relocated, Saved, Succeeded
from crucible_batch.journal import Journal
from tests.harness.features import has_feature
from tests.harness.forked_commands import start_program
from tests.harness.stopped_runs import stop_after

SHORT_JOBS = True

SIDECAR = "provenance: {sidecar: true}\n"
ONE, TWO, THREE = ("{name: a, prompt: one}", "{name: a, prompt: two}", "{name: a, prompt: three}")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def aside(content: bytes, index: int = 0) -> str:
    return f"a/{index}.{digest(content)[:8]}.png"


def read(bench, path: str = "a/0.png") -> bytes:
    return (bench.path / "out" / path).read_bytes()


def paths(result: api.RunResult) -> list[str]:
    return [
        str(output.path.relative_to(result.run_dir))
        for row in result.jobs()
        for output in row.outputs
    ]


async def is_true(bench, *, checked: int) -> None:
    if has_feature("check"):
        found = await api.check_outputs(bench.path / "out")
        assert (found.exit_code, found.checked) == (0, checked), found.differences


@pytest.mark.parametrize(
    "head", ["", "provenance: {embed: true}\n"], ids=["as it came", "embedded"]
)
async def test_an_edited_prompt_is_paid_once_and_saved_where_the_old_picture_was(
    start, watcher, head
):
    seen = watcher()
    async with start() as bench:
        await bench.run(bench.manifest(ONE, head=head))
        old = read(bench)
        result = await bench.run(bench.manifest(TWO, head=head), observer=seen)
        state = await bench.agree(result)
        assert result.exit_code == 0
        assert (state["requests"]["generate"], state["requests"]["download"]) == (2, 2)
        assert result.report.credits.spent == 4
        assert bench.outputs() == sorted(["a/0.png", aside(old)])
        assert (read(bench, aside(old)), paths(result)) == (old, ["a/0.png"])
        assert read(bench) != old
        await is_true(bench, checked=2)
        moved = [
            message
            for message in seen.messages
            if isinstance(getattr(message, "event", None), Relocated)
        ]
        assert [(message.name, message.event.path) for message in moved] == [("a", aside(old))]
        # Nothing is left to do, and a third prompt finds the second's picture in its turn.
        again = await bench.run(bench.manifest(TWO, head=head))
        assert (await bench.agree(again))["requests"]["download"] == 2
        second = read(bench)
        assert (await bench.run(bench.manifest(THREE, head=head))).exit_code == 0
        assert bench.outputs() == sorted(["a/0.png", aside(old), aside(second)])
        await is_true(bench, checked=3)


async def test_the_sidecar_goes_along_and_tells_the_new_name(start):
    async with start() as bench:
        await bench.run(bench.manifest(ONE, head=SIDECAR))
        old = read(bench)
        about = json.loads(read(bench, "a/0.png.json"))
        # Also where none is written any more: the old one would tell of a picture that is gone from
        # there.
        await bench.run(bench.manifest(TWO), sidecars=False)
        about["output"]["file"] = aside(old).removeprefix("a/")
        assert json.loads(read(bench, f"{aside(old)}.json")) == about
        assert not (bench.path / "out/a/0.png.json").exists()


async def test_a_prompt_that_is_changed_back_is_done_and_its_picture_stays_aside(start):
    async with start() as bench:
        await bench.run(bench.manifest(ONE))
        old = read(bench)
        await bench.run(bench.manifest(TWO))
        requests = (await bench.state())["requests"]
        back = await bench.run(bench.manifest(ONE))
        state = await bench.agree(back)
        assert (back.exit_code, paths(back)) == (0, [aside(old)])
        assert [state["requests"][kind] for kind in ("generate", "download")] == [
            requests[kind] for kind in ("generate", "download")
        ]
        await is_true(bench, checked=2)
        # Where it is lost there, it comes to its own place, and the other makes way.
        second = read(bench)
        (bench.path / "out" / aside(old)).unlink()
        again = await bench.run(bench.manifest(ONE))
        assert (again.exit_code, paths(again)) == (0, ["a/0.png"])
        assert bench.outputs() == sorted(["a/0.png", aside(second)])
        assert (read(bench), read(bench, aside(second))) == (old, second)
        await is_true(bench, checked=2)


@pytest.mark.parametrize("kind", ["my own", "edited", "link", "directory"])
async def test_what_is_the_users_stays_and_the_error_says_where_and_what_to_do(start, kind):
    async with start() as bench:
        await bench.run(bench.manifest(ONE))
        place = bench.path / "out/a/0.png"
        elsewhere = place.rename(bench.path / "elsewhere.png")
        match kind:
            case "my own":
                place.write_bytes(b"my own")
            case "edited":
                place.write_bytes(elsewhere.read_bytes() + b"\0")
            case "link":
                place.symlink_to(elsewhere)
            case _:
                place.mkdir()
        before = place.lstat()
        result = await bench.run(bench.manifest(TWO))
        (row,) = result.jobs()
        assert (result.exit_code, row.error.code) == (1, "OUTPUT_EXISTS")
        assert "a/0.png; move it and run the same command again" in row.error.message
        assert "at no cost" in row.error.message
        assert (place.lstat().st_ino, place.lstat().st_mtime_ns) == (
            before.st_ino,
            before.st_mtime_ns,
        )
        assert len(list(place.parent.glob("*.png"))) == 1
        place.rename(bench.path / "moved away")
        again = await bench.run(bench.manifest(TWO))
        state = await bench.agree(again)
    assert (again.exit_code, len(state["jobs"])) == (0, 2)


async def test_a_picture_that_nobody_asks_for_any_more_goes_aside_itself(start, watcher, tampered):
    """It was in flight when its prompt was edited, and arrives after the picture of the new one."""
    saved = asyncio.Event()

    def look(message: object) -> None:
        if isinstance(getattr(message, "event", None), Saved):
            saved.set()

    async with start() as bench:
        await stop_after(bench, watcher, bench.manifest(ONE), Succeeded)
        first = (await bench.state())["jobs"][0]["job_id"]

        async def tamper(request: httpx.Request, send):
            if request.url.path.endswith(f"/api/v1/jobs/{first}"):
                await saved.wait()
            return await send()

        result = await bench.run(
            bench.manifest(TWO), observer=watcher(look), transport=tampered(tamper)
        )
        await bench.agree(result)
        assert (result.exit_code, paths(result)) == (0, ["a/0.png"])
        (other,) = set(bench.outputs()) - {"a/0.png"}
        assert other == aside(read(bench, other))
        await is_true(bench, checked=2)


async def test_receipts_know_what_moved_where_the_journal_is_lost(start):
    async with start() as bench:
        await bench.run(bench.manifest(ONE))
        old = read(bench)
        await bench.run(bench.manifest(TWO))
        requests = (await bench.state())["requests"]
        shutil.rmtree(bench.path / "out/.crucible")
        back = await bench.run(bench.manifest(ONE))
        after = (await bench.state())["requests"]
    assert (back.exit_code, paths(back)) == (0, [aside(old)])
    assert [after[kind] for kind in ("generate", "download")] == [
        requests[kind] for kind in ("generate", "download")
    ]


CHILD = """
    import asyncio, os, sys
    from pathlib import Path
    import crucible_batch as api
    from crucible_batch.outputs import store
    from crucible_batch.settings import Settings

    name, when = sys.argv[2:]

    def die(*_):
        os.kill(os.getpid(), 9)

    class Deadly:
        def notify(self, message):
            if type(getattr(message, "event", None)).__name__ == name:
                die()

    def deadly(function):
        def call(*args):
            if when == "before":
                die()
            function(*args)
            die()
        return call

    if when != "told":
        setattr(store, name, deadly(getattr(store, name)))
    settings = Settings(api_key="moltazine_sandbox", base_url=sys.argv[1])
    asyncio.run(api.run(Path("m.yaml"), out_dir="out", observer=Deadly(), settings=settings))
"""


@pytest.mark.parametrize(
    ("name", "when", "journalled", "names"),
    [
        ("add_name", "before", False, 1),
        ("add_name", "after", False, 2),
        ("Relocated", "told", True, 2),
        ("remove_name", "before", True, 2),
        ("remove_name", "after", True, 1),
    ],
)
async def test_killed_between_any_two_steps_the_same_command_continues(
    start, name, when, journalled, names
):
    async with start() as bench:
        await bench.run(bench.manifest(ONE, head=SIDECAR))
        old = read(bench)
        manifest = bench.manifest(TWO, head=SIDECAR)
        child = start_program(
            textwrap.dedent(CHILD), bench.running.api_url, name, when, cwd=bench.path
        )
        with asyncio.get_running_loop().real_time():
            assert await asyncio.to_thread(child.wait) == -signal.SIGKILL
        with Journal.read(bench.path / "out") as journal:
            assert any(isinstance(event, Relocated) for _, event in journal.events()) == journalled
        assert sum(read(bench, path) == old for path in pngs(bench)) == names
        result = await bench.run(manifest)
        state = await bench.agree(result)
        assert (result.exit_code, state["requests"]["generate"], paths(result)) == (
            0,
            2,
            ["a/0.png"],
        )
        assert bench.outputs() == sorted(["a/0.png", aside(old)])
        assert (bench.path / "out" / aside(old)).stat().st_nlink == 1
        assert sorted(path.name for path in (bench.path / "out/a").glob("*.json")) == sorted(
            f"{path.removeprefix('a/')}.json" for path in ("a/0.png", aside(old))
        )
        await is_true(bench, checked=2)


def pngs(bench) -> list[str]:
    out = bench.path / "out"
    return sorted(path.relative_to(out).as_posix() for path in out.glob("a/*.png"))
