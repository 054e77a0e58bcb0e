"""Further forms of outputs are made beside the jobs, at no cost, and never cost an output."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crucible_batch.core.events import Saved
from crucible_batch.errors import ManifestError, UserError
from crucible_batch.features.derive import encoder, maker, work
from crucible_batch.journal import Journal
from crucible_batch.runs.output_queue import OutputQueue
from tests.harness.stopped_runs import STRIDE, Killer, stop_after

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

THREE = '{name: "{{ n }}", prompt: "a png {{ n }}", matrix: {n: [a, b, c]}}'
ONE = "{name: a, prompt: a png}"
WEBP = "derive: [{format: webp}]\n"
FORMS = (
    "derive:\n"
    "  - {format: webp, max_edge: 24, quality: 90}\n"
    "  - {format: jpeg, path: 'web/{name}-{index}{ext}'}\n"
    "  - {format: avif}\n"
)


def files(out: Path) -> dict[str, bytes]:
    """The files of the run that are not its own."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("[a-z]*/*"))
    }


def derived(out: Path) -> dict[str, Any]:
    """What the report has of derived files, by their paths."""
    jobs = json.loads((out / "report.json").read_text())["jobs"]
    return {
        each["path"]: each
        for job in jobs
        for output in job["outputs"]
        for each in output["derived"]
    }


class Counted:
    """Counts the pictures that are encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.threads: set[int] = set()
        encode = maker.encode

        def counted(*given: Any) -> Any:
            self.count += 1
            self.threads.add(threading.get_ident())
            return encode(*given)

        monkeypatch.setattr(maker, "encode", counted)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


async def test_each_form_of_each_output_is_made_and_reported(
    painting: Any, encoded: Counted
) -> None:
    async with painting() as bench:
        result = await bench.run(bench.manifest(THREE, head=FORMS))
        await bench.agree(result)
        out = bench.path / "out"
        found, reported = files(out), derived(out)
        rows = {row.name: row.outputs[0] for row in result.jobs()}
    names = [f"{job}/0.{ext}" for job in "abc" for ext in ("avif", "png", "webp")]
    assert list(found) == [*names, *(f"web/{job}-0.jpg" for job in "abc")]
    assert reported.keys() == {name for name in found if not name.endswith(".png")}
    for path, row in reported.items():
        with Image.open(out / path) as image:
            assert image.format.lower() == row["format"]
            assert image.size == (row["width"], row["height"])
            assert image.size == ((24, 16) if path.endswith(".webp") else (48, 32))
        assert row["sha256"] == hashlib.sha256(found[path]).hexdigest()
        assert (row["byte_size"], row["error"]) == (len(found[path]), None)
    for name, output in rows.items():
        assert output.sha256 == hashlib.sha256(found[f"{name}/0.png"]).hexdigest()
    assert encoded.count == 9
    assert threading.get_ident() not in encoded.threads


async def test_another_run_makes_only_what_is_missing_or_asked_for_in_another_way(
    painting: Any, encoded: Counted
) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(THREE))
        assert encoded.count == 0
        await bench.run(bench.manifest(THREE, head=WEBP))
        assert encoded.count == 3
        before = files(out)
        await bench.run(bench.manifest(THREE, head=WEBP))
        assert encoded.count == 3
        (out / "a/0.webp").unlink()
        await bench.run(bench.manifest(THREE, head=WEBP))
        assert (encoded.count, files(out)) == (4, before)
        result = await bench.run(
            bench.manifest(THREE, head="derive: [{format: webp, quality: 5}]\n")
        )
        assert encoded.count == 7
        after = files(out)
        assert after.keys() == before.keys()
        assert all((after[name] == before[name]) is name.endswith(".png") for name in after)
        # A form that is no longer asked for stays.
        await bench.run(bench.manifest(THREE))
        assert files(out) == after
        assert len((await bench.agree(result))["jobs"]) == 3


async def test_a_picture_that_cannot_be_decoded_is_a_note_and_the_run_ends_as_it_would(
    painting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = "{name: bad, prompt: a broken png}\n{name: good, prompt: a png}"
    async with painting() as bench:
        out = bench.path / "out"
        with caplog.at_level(logging.WARNING):
            result = await bench.run(bench.manifest(jobs, head=WEBP))
        assert result.exit_code == 0
        assert list(files(out)) == ["bad/0.png", "good/0.png", "good/0.webp"]
        row = derived(out)["bad/0.webp"]
    assert row["error"].startswith("it can't be decoded or encoded: ")
    assert row["sha256"] is None
    assert [each for each in caplog.messages if "no webp was derived from bad/0: it can't" in each]


@pytest.mark.parametrize("is_checked_before", [True, False])
async def test_no_file_of_another_is_replaced_and_no_link_is_followed(
    painting: Any, monkeypatch: pytest.MonkeyPatch, is_checked_before: bool
) -> None:
    """Also not one that appears right before the derived file gets the name."""
    if not is_checked_before:
        monkeypatch.setattr(maker.FileMaker, "_refuse_other", lambda *_: None)
    async with painting() as bench:
        out = bench.path / "out"
        away = bench.path / "away"
        away.mkdir()
        await bench.run(bench.manifest(THREE))
        (out / "a/0.webp").write_bytes(b"mine")
        (out / "b/0.webp").symlink_to(away / "x.webp")
        (out / "web").symlink_to(away)
        head = "derive: [{format: webp}, {format: jpeg, path: 'web/{name}-{index}{ext}'}]\n"
        result = await bench.run(bench.manifest(THREE, head=head))
        assert result.exit_code == 0
        errors = {path: row["error"] for path, row in derived(out).items() if row["error"]}
        assert (out / "a/0.webp").read_bytes() == b"mine"
        assert list(away.iterdir()) == []
        assert sorted(errors) == ["a/0.webp", "b/0.webp", *(f"web/{n}-0.jpg" for n in "abc")]
        assert errors["a/0.webp"].startswith("a/0.webp is a file that was not derived by this run")
        (out / "a/0.webp").unlink()
        await bench.run(bench.manifest(THREE, head=head))
        assert derived(out)["a/0.webp"]["error"] is None


async def test_a_derived_file_that_was_edited_stays(painting: Any) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(ONE, head=WEBP))
        (out / "a/0.webp").write_bytes(b"edited")
        await bench.run(bench.manifest(ONE, head="derive: [{format: webp, quality: 9}]\n"))
        assert (out / "a/0.webp").read_bytes() == b"edited"


async def test_nothing_is_derived_from_an_output_that_was_edited(painting: Any) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(ONE))
        content = bytearray((out / "a/0.png").read_bytes())
        content[-20] ^= 1
        (out / "a/0.png").write_bytes(content)
        await bench.run(bench.manifest(ONE, head=WEBP))
        assert derived(out)["a/0.webp"]["error"] == "its file was changed after it was saved"


async def test_a_file_that_can_not_be_made_in_another_way_stays_and_stays_known(
    painting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(ONE, head=WEBP))
        before = files(out)
        with monkeypatch.context() as patch:
            patch.setattr(maker, "encode", _refuse)
            other = bench.manifest(ONE, head="derive: [{format: webp, quality: 9}]\n")
            await bench.run(other)
        assert files(out) == before
        assert derived(out)["a/0.webp"]["error"] is None
        await bench.run(other)
        assert files(out)["a/0.webp"] != before["a/0.webp"]


def _refuse(*_given: Any) -> Any:
    raise encoder.NotDerivableError("no")


async def test_of_two_jobs_with_one_path_the_first_keeps_it(
    painting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "path_of", lambda *_: "web/same.webp")
    two = "{name: a, prompt: a png}\n{name: b, prompt: another png}"
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest("{name: a, prompt: a png}", head=WEBP))
        first = files(out)["web/same.webp"]
        for _ in range(2):
            result = await bench.run(bench.manifest(two, head=WEBP))
            assert files(out)["web/same.webp"] == first
            errors = [
                row["error"]
                for job in json.loads((out / "report.json").read_text())["jobs"]
                for row in job["outputs"][0]["derived"]
            ]
            assert errors[0] is None
            assert errors[1].startswith("web/same.webp is also derived from another job")
        assert result.exit_code == 0


async def test_a_form_at_the_path_of_the_output_itself_is_a_note(painting: Any) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest("{name: a, prompt: a webp}", head=WEBP))
        assert list(files(out)) == ["a/0.webp"]
        assert "the output itself is a/0.webp" in derived(out)["a/0.webp"]["error"]


@pytest.mark.parametrize("kind", ["png", "webp"])
async def test_of_a_changed_job_only_the_new_picture_is_derived(painting: Any, kind: str) -> None:
    """Also if the new output needs the path of what was derived from the old one."""
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(ONE, head=WEBP))
        old = files(out)["a/0.webp"]
        result = await bench.run(bench.manifest(f"{{name: a, prompt: another {kind}}}", head=WEBP))
        found = files(out)
        assert result.exit_code == 0
        (row,) = result.jobs()
        assert row.outputs[0].path == out / f"a/0.{kind}"
        assert old not in found.values()
        shown = derived(out)["a/0.webp"]
        assert (shown["error"] is None) is (kind == "png")
        # The old picture is asked for again, and so is its form.
        await bench.run(bench.manifest(ONE, head=WEBP))
        assert len((await bench.state())["jobs"]) == 2
        if kind == "png":
            assert files(out)["a/0.webp"] == old


async def test_an_output_that_arrives_where_a_derived_file_is_gets_its_path(
    painting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order: what can be made again gives way to what is paid for."""
    monkeypatch.setattr(work.DerivingWork, "_remove_stale", lambda _self: asyncio.sleep(0))
    async with painting() as bench:
        await bench.run(bench.manifest(ONE, head=WEBP))
        result = await bench.run(bench.manifest("{name: a, prompt: a webp}", head=WEBP))
        assert result.exit_code == 0
        (row,) = result.jobs()
        content = (bench.path / "out/a/0.webp").read_bytes()
        assert row.outputs[0].sha256 == hashlib.sha256(content).hexdigest()
        assert row.outputs[0].path.name == "0.webp"


async def test_a_run_that_is_killed_at_any_effect_loses_and_repeats_nothing(
    painting: Any, tampered: Any, tally: Any
) -> None:
    async with painting() as bench:
        whole = await bench.run(bench.manifest(THREE, head=FORMS), out_dir=bench.path / "whole")
        assert whole.exit_code == 0
    names = files(whole.run_dir).keys()
    for at in itertools.count(0, STRIDE * 3):
        async with painting() as bench:
            manifest = bench.manifest(THREE, head=FORMS)
            killer = Killer(at)
            out = bench.path / f"out{at}"
            await killer.run(bench, tampered, manifest, out_dir=out)
            result = await bench.run(manifest, out_dir=out)
            await bench.agree(result)
            assert files(out).keys() == names
            assert all(row["error"] is None for row in derived(out).values())
            assert len(derived(out)) == 9
            assert not list(out.rglob(".crucible-part-*"))
        if not killer.has_struck:
            break


class KilledError(BaseException):
    """A kill, which no code handles."""


@pytest.mark.parametrize("step", ["keep", "forget", "_name", "_written", "remove"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_between_two_steps_of_one_file_is_made_up_for(
    painting: Any, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    other = "derive: [{format: webp, quality: 7}]\n"
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(ONE, head=WEBP))
        before = files(out)["a/0.webp"]
        subject = maker.NotedFiles if step in {"keep", "forget"} else maker.FileMaker
        with monkeypatch.context() as patch:
            patch.setattr(subject, step, _dying(getattr(subject, step), when))
            patch.setattr(OutputQueue, "until_idle", _until_all_died)
            with pytest.raises((KilledError, BaseExceptionGroup, asyncio.CancelledError)):
                await bench.run(bench.manifest(ONE, head=other))
        # The next run may have another release of Pillow, whose bytes differ.
        monkeypatch.setattr(encoder, "_written", _with_a_dot(encoder._written))
        result = await bench.run(bench.manifest(ONE, head=other))
        assert result.exit_code == 0
        found, row = files(out), derived(out)["a/0.webp"]
        assert list(found) == ["a/0.png", "a/0.webp"]
        assert found["a/0.webp"] != before
        assert row["error"] is None
        assert row["sha256"] == hashlib.sha256(found["a/0.webp"]).hexdigest()


def _with_a_dot(written: Any) -> Any:
    def other(image: Any, *given: Any) -> Any:
        image.putpixel((0, 0), (1, 2, 3))
        return written(image, *given)

    return other


def _dying(method: Any, when: str) -> Any:
    if asyncio.iscoroutinefunction(method):

        async def dying(*given: Any) -> Any:
            if when == "after":
                await method(*given)
            raise KilledError

        return dying

    def dying_at_once(*given: Any) -> Any:
        if when == "after":
            method(*given)
        raise KilledError

    return dying_at_once


async def _until_all_died(self: Any, _leaving: asyncio.Event) -> None:
    while not self._waiting.empty():
        await asyncio.sleep(0.001)
    for worker in self._workers:
        if worker.done():
            worker.result()
    await asyncio.wait(self._workers, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
    for worker in self._workers:
        if worker.done():
            worker.result()


async def test_what_was_stopped_is_made_by_the_next_run(painting: Any, watcher: Any) -> None:
    async with painting() as bench:
        manifest = bench.manifest(THREE, head=WEBP)
        await stop_after(bench, watcher, manifest, Saved)
        result = await bench.run(manifest)
        await bench.agree(result)
        assert len(derived(bench.path / "out")) == 3


async def test_a_run_that_has_to_end_does_not_wait_for_the_rest(
    painting: Any, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude, encode, stop = work.DerivingWork.conclude, maker.encode, OutputQueue.stop
    has_to_end, has_stopped = list[Any](), threading.Event()

    async def concluded(self: Any, leaving: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        has_to_end.append(lambda: loop.call_soon_threadsafe(leaving.set))
        await conclude(self, leaving)

    def slow(*given: Any) -> Any:
        has_to_end[0]()
        has_stopped.wait(30)  # a thread can't be stopped: what it does is finished
        return encode(*given)

    async def stopped(queue: OutputQueue) -> None:
        for worker in queue._workers:
            worker.cancel()
        has_stopped.set()
        await stop(queue)

    async with painting() as bench:
        jobs = THREE.replace("[a, b, c]", "[a, b, c, d, e, f, g]")
        await bench.run(bench.manifest(jobs))
        with monkeypatch.context() as patch:
            patch.setattr(maker, "encode", slow)
            patch.setattr(OutputQueue, "stop", stopped)
            patch.setattr(work.DerivingWork, "conclude", concluded)
            result = await bench.run(bench.manifest(jobs, head=WEBP))
        assert result.report.counts.succeeded == 7
        assert encoded.count < 7
        again = await bench.run(bench.manifest(jobs, head=WEBP))
        assert again.exit_code == 0
        assert len(derived(bench.path / "out")) == 7


async def test_no_error_of_the_work_changes_how_a_run_ends(
    painting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_given: Any) -> Any:
        raise RuntimeError("a bug")

    async with painting() as bench:
        manifest = bench.manifest(THREE, head=WEBP)
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(work.DerivingWork, "_derive", failing)
            patch.setattr(OutputQueue, "until_idle", failing)
            result = await bench.run(manifest)
            await bench.agree(result)
        assert result.exit_code == 0
        assert "derived files are left to the next run: a bug" in caplog.messages
        await bench.run(manifest)
        assert len(derived(bench.path / "out")) == 3


async def test_without_a_journal_what_is_there_is_known_by_its_bytes(painting: Any) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(THREE, head=FORMS))
        before = files(out)
        for path in sorted((out / ".crucible").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        result = await bench.run(bench.manifest(THREE, head=FORMS))
        assert (result.report.credits.bought, files(out)) == (0, before)
        assert all(row["error"] is None for row in derived(out).values())


async def test_a_note_that_was_edited_removes_no_other_file(painting: Any) -> None:
    async with painting() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest(ONE, head=WEBP))
        (out / "notes.txt").write_bytes(b"mine")
        digest = hashlib.sha256(b"mine").hexdigest()
        with Journal.read(out) as journal:
            binding = journal.binding()
        with Journal.open(out, binding, now=0) as journal:
            (identity,) = journal.identities()
            (value,) = journal.job_notes(identity).values()
            for path in ("notes.txt", "../m.yaml", "report.json"):
                forged = {**json.loads(value), "path": path, "sha256": digest, "sent": "0" * 64}
                await journal.note_job("f" * 64, f"derived {path}", json.dumps(forged))
        await bench.run(bench.manifest(ONE, head=WEBP))
        assert (out / "notes.txt").read_bytes() == b"mine"
        assert (out / "report.json").is_file()


REFUSED = {
    "[{format: gif}]": r":6:19: derive\[0\]\.format: must be 'webp', 'jpeg' or 'avif'",
    "[{}]": r":6:10: derive\[0\].*format",
    "[{format: webp, quality: 0}]": r"derive\[0\]\.quality: must be",
    "[{format: webp, quality: 101}]": r"derive\[0\]\.quality: must be",
    "[{format: webp, max_edge: 0}]": r"derive\[0\]\.max_edge: must be",
    "[{format: webp, max_edge: 20000}]": r"derive\[0\]\.max_edge: must be",
    "[{format: webp, size: 3}]": r"derive\[0\]\.size: unknown",
    "[{format: webp}, {format: webp, max_edge: 9}]": r"derive\[1\]: has the same path as derive",
    "[{format: webp, path: 'x/{index}{ext}'}]": r"must contain \{name\}",
    "[{format: webp, path: 'x/{name}{ext}'}]": r"must contain \{index\}",
    "[{format: webp, path: 'x/{name}-{index}.webp'}]": r"must contain \{ext\}",
    "[{format: webp, path: '../{name}/{index}{ext}'}]": "out of the run directory",
    "[{format: webp, path: '/{name}/{index}{ext}'}]": "relative to the run directory",
    "[{format: webp, path: 'thumbnails/{name}/{index}{ext}'}]": "that the run itself writes",
    "[{format: webp, path: '.crucible/{name}/{index}{ext}'}]": "begins with",
    "{format: webp}": "derive: must be a list",
}


@pytest.mark.parametrize("value", REFUSED)
async def test_mistakes_are_found_before_anything_is_spent(painting: Any, value: str) -> None:
    async with painting() as bench:
        with pytest.raises(ManifestError, match=REFUSED[value]):
            await bench.run(bench.manifest(ONE, head=f"derive: {value}\n"))
        assert (await bench.state())["jobs"] == []
        assert not (bench.path / "out").exists()


async def test_a_format_that_pillow_lacks_is_refused(
    painting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder.features, "check", lambda name: name != "avif")
    async with painting() as bench:
        with pytest.raises(UserError, match=r"m\.yaml:9:14: Pillow can't write avif") as error:
            await bench.run(bench.manifest(ONE, head=FORMS))
        assert error.value.hint is not None
        assert (await bench.state())["jobs"] == []


async def test_an_object_store_is_refused(painting: Any, tmp_path: Path) -> None:
    async with painting() as bench:
        with pytest.raises(UserError, match=r"m\.yaml:6:\d+: files can't be derived in an object"):
            await bench.run(
                bench.manifest(ONE, head=WEBP), out_dir=f"file://{tmp_path}/shared/winter"
            )
        assert (await bench.state())["jobs"] == []
