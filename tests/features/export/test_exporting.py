"""Exports of a run: what they write, what they leave alone, and what they refuse."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ExitCode, RunDirectoryError, RunPrunedError, UserError
from crucible_batch.features.export import exporting, pictures
from crucible_batch.features.export.folder import RECORD, ExportFolder
from crucible_batch.features.export.sources import PictureSources
from crucible_batch.outputs import FileState, Folder
from crucible_batch.runs.decisions import Decisions
from tests.features.export.killed import PLACES, killed_at
from tests.harness.claimed_places import OURS
from tests.harness.commands import Cli
from tests.harness.object_store import URL
from tests.harness.stopped_runs import STRIDE

SHORT_JOBS = True
Files = Callable[[Path], dict[str, bytes]]
NAMES = ("heron-1-0", "heron-2-0", "heron-3-0", "v1.5-=ink-0", "v1.5-tea-0")
FORMS = tuple(api.ExportForm)
KEEPS_PICTURES = ("captions", "imagefolder", "csv")


@pytest.fixture
def rejected(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The jobs whose outputs count as rejected, as a feature would have it."""
    names = set[str]()

    def is_rejected(name: str, _index: int, _sha256: str) -> bool:
        return name in names

    decided = Decisions(is_rejected=is_rejected)
    monkeypatch.setattr(pictures, "decisions_of", lambda *_: decided)
    return names


def stamps(directory: Path) -> dict[str, tuple[int, int]]:
    """What differs if a file, or the record, was written again."""
    return {
        path.relative_to(directory).as_posix(): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in directory.rglob("*")
    }


# -- what is written


def test_captions_are_pictures_that_share_their_bytes_and_prompts(
    run_dir: Path, tmp_path: Path, files: Files
) -> None:
    done = api.export(run_dir, tmp_path / "to", form="captions")
    found = files(tmp_path / "to")
    assert sorted(found) == sorted(f"{name}{ext}" for name in NAMES for ext in (".png", ".txt"))
    assert found["heron-2-0.txt"] == b"a heron, 2"
    assert found["v1.5-=ink-0.txt"] == b"a lamp in =ink"
    assert (tmp_path / "to" / "heron-2-0.png").samefile(run_dir / "heron-2" / "0.png")
    assert (done.pictures, done.written, done.kept, done.removed) == (5, 10, 0, 0)
    assert (done.ok, done.exit_code, done.form) == (True, ExitCode.OK, api.ExportForm.CAPTIONS)


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_without_hard_links_pictures_are_copied(
    run_dir: Path, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    api.export(run_dir, tmp_path / "linked", form="captions")
    monkeypatch.setattr(Folder, "link", refused)
    api.export(run_dir, tmp_path / "copied", form="captions")
    assert files(tmp_path / "copied") == files(tmp_path / "linked")
    copied = tmp_path / "copied" / "heron-2-0.png"
    assert not copied.samefile(run_dir / "heron-2" / "0.png")


def test_an_archive_is_the_same_each_time(run_dir: Path, tmp_path: Path, files: Files) -> None:
    for form in ("zip", "webdataset"):
        for place in ("one", "two"):
            api.export(run_dir, tmp_path / form / place, form=form)
        assert files(tmp_path / form / "one") == files(tmp_path / form / "two")
    with zipfile.ZipFile(tmp_path / "zip" / "one" / "pictures.zip") as zipped:
        assert zipped.testzip() is None
        assert zipped.namelist() == [*(f"{name}.png" for name in NAMES), "metadata.jsonl"]
        assert zipped.read("heron-1-0.png") == (run_dir / "heron-1" / "0.png").read_bytes()
    with tarfile.open(tmp_path / "webdataset" / "one" / "pictures-000000.tar") as tar:
        keys = [name.replace(".", "_") for name in NAMES]
        assert tar.getnames() == [f"{key}.{ext}" for key in keys for ext in ("png", "txt", "json")]
        member = tar.extractfile("heron-1-0.png")
        assert member is not None
        assert member.read() == (run_dir / "heron-1" / "0.png").read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_the_same_command_again_does_nothing(run_dir: Path, tmp_path: Path, form: str) -> None:
    api.export(run_dir, tmp_path / "to", form=form)
    before = stamps(tmp_path / "to")
    done = api.export(run_dir, tmp_path / "to", form=form)
    assert stamps(tmp_path / "to") == before
    assert (done.written, done.removed, done.pictures) == (0, 0, 5)


async def test_it_follows_a_run_that_grows(start: Any, tmp_path: Path, files: Files) -> None:
    async with start() as bench:
        first = await bench.run(bench.manifest("{name: a, prompt: one}"))
        api.export(first.run_dir, tmp_path / "to", form="imagefolder")
        result = await bench.run(bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}"))
    done = api.export(result.run_dir, tmp_path / "to", form="imagefolder")
    assert (done.written, done.kept, done.pictures) == (2, 1, 2)
    rows = files(tmp_path / "to")["train/metadata.jsonl"].decode().splitlines()
    assert [json.loads(row)["text"] for row in rows] == ["one", "two"]


async def test_outputs_in_an_object_store_are_copied(
    start: Any, store: Any, tmp_path: Path, files: Files
) -> None:
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}")
        await bench.run(manifest, out_dir=URL)
        # It has its own event loop for the store.
        done = await asyncio.to_thread(api.export, URL, tmp_path / "to", form="captions")
    assert (done.pictures, sorted(files(tmp_path / "to"))) == (1, ["a-0.png", "a-0.txt"])


# -- what is left alone


def test_an_edited_caption_is_kept_and_named(run_dir: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form="captions")
    (to / "heron-1-0.txt").write_text("a bird that I know")
    done = api.export(run_dir, to, form="captions")
    assert (done.changed, done.written) == (("heron-1-0.txt",), 0)
    assert (to / "heron-1-0.txt").read_text() == "a bird that I know"


def test_a_deleted_file_is_written_again(run_dir: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form="captions")
    (to / "heron-1-0.txt").unlink()
    assert api.export(run_dir, to, form="captions").written == 1
    assert (to / "heron-1-0.txt").read_text() == "a heron, 1"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["file", "link", "directory", "dangling link"])
def test_a_file_that_it_did_not_write_is_refused_before_anything_is_written(
    run_dir: Path, tmp_path: Path, form: str, kind: str
) -> None:
    to = tmp_path / "to"
    api.export(run_dir, tmp_path / "clean", form=form)
    paths = sorted(path for path in stamps(tmp_path / "clean") if path != RECORD)
    taken = to / paths[-1]
    taken.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "mine").write_text("mine")
    if kind == "directory":
        taken.mkdir()
    elif kind == "file":
        taken.write_text("mine")
    else:
        taken.symlink_to(tmp_path / ("mine" if kind == "link" else "nowhere"))
    before = stamps(to)
    with pytest.raises(UserError, match="did not write") as caught:
        api.export(run_dir, to, form=form)
    assert paths[-1] in caught.value.message
    assert stamps(to) == before
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_a_link_is_not_followed(run_dir: Path, tmp_path: Path) -> None:
    to, elsewhere = tmp_path / "to", tmp_path / "elsewhere"
    to.mkdir()
    elsewhere.mkdir()
    (to / "train").symlink_to(elsewhere)
    with pytest.raises(UserError, match="did not write"):
        api.export(run_dir, to, form="imagefolder")
    assert list(elsewhere.iterdir()) == []


def test_an_edited_index_is_not_overwritten(
    run_dir: Path, tmp_path: Path, rejected: set[str]
) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form="csv")
    (to / "pictures.csv").write_text("mine")
    rejected.add("heron-1")
    with pytest.raises(UserError, match=r"pictures\.csv; nothing was written"):
        api.export(run_dir, to, form="csv")
    assert (to / "pictures.csv").read_text() == "mine"
    assert (to / "heron-1-0.png").is_file()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_longer_exported_is_removed_unless_it_was_changed(
    run_dir: Path, tmp_path: Path, files: Files, form: str, rejected: set[str]
) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form=form)
    before = set(files(to))
    if form == "captions":
        (to / "heron-2-0.txt").write_text("mine")
    rejected |= {"heron-1", "heron-2"}
    done = api.export(run_dir, to, form=form)
    assert done.pictures == 3
    gone = {path for path in before if "heron-1-0" in path or "heron-2-0" in path}
    if form == "captions":
        assert done.changed == ("heron-2-0.txt",)
        gone.remove("heron-2-0.txt")
    assert set(files(to)) == before - gone
    api.export(run_dir, tmp_path / "fresh", form=form)
    fresh = files(tmp_path / "fresh")
    assert {path: content for path, content in files(to).items() if path in fresh} == fresh
    assert api.export(run_dir, to, form=form).written == 0


# -- outputs that are not there


@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_is_not_as_recorded_is_named_and_the_others_are_exported(
    run_dir: Path, tmp_path: Path, files: Files, form: str
) -> None:
    content = (run_dir / "heron-1" / "0.png").read_bytes()
    (run_dir / "heron-1" / "0.png").write_bytes(content[:-1] + b"x")
    (run_dir / "heron-2" / "0.png").unlink()
    good = (run_dir / "heron-3" / "0.png").rename(tmp_path / "good.png")
    (run_dir / "heron-3" / "0.png").symlink_to(good)
    done = api.export(run_dir, tmp_path / "to", form=form)
    assert (done.ok, done.exit_code, done.pictures) == (False, ExitCode.SOME_FAILED, 2)
    assert [(each.job, each.index, each.path, each.state) for each in done.missing] == [
        ("heron-1", 0, "heron-1/0.png", FileState.DAMAGED),
        ("heron-2", 0, "heron-2/0.png", FileState.MISSING),
        ("heron-3", 0, "heron-3/0.png", FileState.REPLACED),
    ]
    (run_dir / "heron-3" / "0.png").unlink()
    good.rename(run_dir / "heron-3" / "0.png")
    (run_dir / "heron-1" / "0.png").write_bytes(content)
    (run_dir / "heron-2" / "0.png").write_bytes(content)
    done = api.export(run_dir, tmp_path / "to", form=form)
    assert [each.job for each in done.missing] == ["heron-2"]


@pytest.mark.parametrize("form", KEEPS_PICTURES)
def test_a_picture_that_was_exported_stays_when_its_output_is_lost(
    run_dir: Path, tmp_path: Path, files: Files, form: str
) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form=form)
    before = files(to)
    (run_dir / "heron-2" / "0.png").unlink()
    done = api.export(run_dir, to, form=form)
    assert ([each.job for each in done.missing], done.pictures) == (["heron-2"], 5)
    assert files(to) == before


@pytest.mark.parametrize("size", [lambda size: size, lambda size: size - 1, lambda size: size + 1])
@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_changes_while_it_is_exported_gets_no_name(
    run_dir: Path,
    tmp_path: Path,
    files: Files,
    form: str,
    size: Callable[[int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = PictureSources.state

    def changed(sources: PictureSources, picture: Any) -> FileState:
        found = check(sources, picture)
        (run_dir / picture.path).write_bytes(b"x" * size(picture.byte_size))
        return found

    monkeypatch.setattr(PictureSources, "state", changed)
    with pytest.raises(UserError, match="was changed while it was exported"):
        api.export(run_dir, tmp_path / "to", form=form)
    assert files(tmp_path / "to") == {}


@pytest.mark.parametrize("path", OURS)
def test_a_path_where_no_output_may_be_is_not_read(
    run_dir: Path, tmp_path: Path, path: str
) -> None:
    """A journal may come from another person."""
    secret = tmp_path / "elsewhere.png"
    secret.write_bytes(b"secret")
    change = (
        "UPDATE events SET body = json_set(body, '$.path', ?, '$.byte_size', 6, '$.sha256', ?)"
        " WHERE type = 'Saved'"
    )
    digest = hashlib.sha256(b"secret").hexdigest()
    with closing(sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3")) as journal, journal:
        assert journal.execute(change, (path, digest)).rowcount == 5
    done = api.export(run_dir, tmp_path / "to", form="captions")
    assert {each.state for each in done.missing} <= {FileState.MISPLACED, FileState.MISSING}
    assert (done.pictures, sorted(path.name for path in (tmp_path / "to").iterdir())) == (0, [])


# -- kills

STRIDES = {
    "captions": (0, STRIDE),
    "imagefolder": (1, STRIDE),
    "csv": (2, STRIDE),
    "webdataset": (0, 1),
    "zip": (0, 1),
}


def test_a_line_of_the_record_that_a_kill_has_cut_is_ignored(
    run_dir: Path, tmp_path: Path, files: Files, rejected: set[str]
) -> None:
    to = tmp_path / "to"
    rejected.add("heron-1")
    api.export(run_dir, to, form="captions")
    with (to / RECORD).open("a") as record:
        record.write('{"path": "heron-1-0.png", "ke')
    rejected.clear()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ExportFolder, "settle", lambda _folder: None)  # as if killed before it
        api.export(run_dir, to, form="captions")
    rejected.add("heron-1")
    assert api.export(run_dir, to, form="captions").removed == 2
    assert not any(path.startswith("heron-1") for path in files(to))


@pytest.mark.parametrize("form", FORMS)
def test_a_kill_at_any_effect_leaves_complete_files_and_the_next_export_completes_it(
    run_dir: Path, tmp_path: Path, files: Files, form: str, rejected: set[str]
) -> None:
    """Of a first export, and of one that replaces, adds and removes."""

    def export(to: Path) -> object:
        return api.export(run_dir, to, form=form)

    before, after = {"heron-2"}, {"heron-1"}
    rejected |= before
    export(tmp_path / "first")
    rejected ^= before | after
    export(tmp_path / "second")
    first, second = files(tmp_path / "first"), files(tmp_path / "second")
    start, step = STRIDES[form]
    for number in range(start, 200, step):
        to = tmp_path / f"to-{number}"
        rejected ^= before | after
        was_killed = killed_at(number, partial(export, to))
        found = files(to) if to.exists() else {}
        assert complete(found).items() <= first.items(), number
        export(to)
        assert files(to) == first, number
        rejected ^= before | after
        was_killed |= killed_at(number, partial(export, to))
        assert complete(files(to)).items() <= first.items() | second.items(), number
        export(to)
        assert files(to) == second, number
        if not was_killed:
            break
    assert PLACES[form] <= number < 200


def complete(found: dict[str, bytes]) -> dict[str, bytes]:
    """The files that a user sees: temporary ones begin with a dot."""
    return {path: content for path, content in found.items() if Path(path).name[0] != "."}


# -- what is refused


def refusals(run_dir: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    other = Path(shutil.copytree(run_dir, tmp_path / "other"))
    link = tmp_path / "link"
    link.symlink_to(run_dir)
    (tmp_path / "file").touch()
    yield run_dir, "in the run directory"
    yield run_dir / "export", "in the run directory"
    yield run_dir / "heron-1" / "deeper" / "still", "in the run directory"
    yield run_dir / ".." / "run" / "x", "in the run directory"
    yield link / "x", "in the run directory"
    yield other / "x", "in the run directory"
    yield tmp_path / "file", "is not a directory"


def test_it_writes_into_no_run_directory(run_dir: Path, tmp_path: Path) -> None:
    before = {path: stamp for path, stamp in stamps(run_dir).items() if path[0] != "."}
    for to, words in refusals(run_dir, tmp_path):
        with pytest.raises(UserError, match=words):
            api.export(run_dir, to, form="captions")
    assert {path: each for path, each in stamps(run_dir).items() if path[0] != "."} == before


async def test_it_does_not_write_where_the_outputs_of_a_run_are(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is elsewhere on this machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shared" / "winter").mkdir(parents=True)
    url = f"file://{tmp_path}/shared/winter"
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"), out_dir=url)
    to = tmp_path / "shared" / "winter" / "export"
    with pytest.raises(UserError, match="in the run directory"):
        await asyncio.to_thread(api.export, url, to, form="captions")
    assert not to.exists()
    done = await asyncio.to_thread(api.export, url, tmp_path / "to", form="captions")
    assert done.pictures == 1


def test_a_directory_has_one_export(run_dir: Path, tmp_path: Path, cli: Cli) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form="captions")
    with pytest.raises(UserError, match="has another export: captions of export, default"):
        api.export(run_dir, to, form="csv")
    cli.write("another", "- {name: heron, prompt: another}")
    assert cli("run", "another.yaml").code == 0
    with pytest.raises(UserError, match="has another export"):
        api.export(cli.cwd / "outputs" / "another" / "default", to, form="captions")
    assert (to / "heron-1-0.txt").read_text() == "a heron, 1"


@pytest.mark.parametrize("content", [b"", b"[]\n", b"{}\n", b'{"version": 9}\n', b"\xff\n"])
def test_a_record_of_another_kind_is_refused(run_dir: Path, tmp_path: Path, content: bytes) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (to / RECORD).write_bytes(content)
    with pytest.raises(UserError, match="is not the record of an export"):
        api.export(run_dir, to, form="captions")
    assert [path.name for path in to.iterdir()] == [RECORD]


def test_a_record_removes_nothing_elsewhere(run_dir: Path, tmp_path: Path) -> None:
    """A directory may come from another person."""
    to, mine = tmp_path / "to", tmp_path / "mine.txt"
    api.export(run_dir, to, form="captions")
    mine.write_text("mine")
    (to / ".git").mkdir()
    (to / ".git" / "config").write_text("mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    with (to / RECORD).open("a") as record:
        for path in ("../mine.txt", str(mine), ".git/config", "", "a/../../mine.txt", "x\0y"):
            record.write(json.dumps({"path": path, "key": "k", "sha256": digest}) + "\n")
    done = api.export(run_dir, to, form="captions")
    assert mine.read_text() == "mine"
    assert (to / ".git" / "config").read_text() == "mine"
    assert done.written == 0


def test_two_exports_at_the_same_time_are_refused(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*_: object, **__: object) -> Any:
        api.export(run_dir, tmp_path / "to", form="captions")

    monkeypatch.setattr(exporting, "_missing", again)
    with pytest.raises(UserError, match="another process exports into"):
        api.export(run_dir, tmp_path / "to", form="captions")


def test_there_is_nothing_to_export(run_dir: Path, tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(UserError, match="no output that can be exported is picked"):
        api.export(run_dir, tmp_path / "to", form="captions", picked=True)
    with pytest.raises(UserError, match="'pdf' is not a form of export") as caught:
        api.export(run_dir, tmp_path / "to", form="pdf")
    assert caught.value.hint == "use one of captions, imagefolder, webdataset, csv, zip"
    with pytest.raises(RunDirectoryError):
        api.export(tmp_path / "nowhere", tmp_path / "to", form="captions")
    cli.write("failed", "- {name: heron, prompt: nsfw}")
    assert cli("run", "failed.yaml").code == 1
    with pytest.raises(UserError, match="no output can be exported: no job has succeeded"):
        api.export(cli.cwd / "outputs" / "failed" / "default", tmp_path / "to", form="captions")
    assert not (tmp_path / "to").exists()


def test_a_pruned_run_is_refused(run_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3")) as journal, journal:
        journal.execute("INSERT INTO meta (key, value) VALUES ('pruned', '2026-11-30')")
    with pytest.raises(RunPrunedError):
        api.export(run_dir, tmp_path / "to", form="captions")
