"""What a page has decided, saved with its run: picks, ratings, notes, and rejections by bytes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from crucible_batch import edited_files
from crucible_batch.atomic_files import append_lines, replacing
from crucible_batch.errors import UserError
from crucible_batch.features.marks import marks_file
from crucible_batch.features.marks.marks_file import MARKS_FILE, Marks, read_marks
from crucible_batch.features.marks.page_fields import changes, is_current, read
from crucible_batch.features.marks.page_posts import answer
from tests.harness.case_table import each_case
from tests.harness.commands import Cli

JOBS = """\
- {name: hero, prompt: "heron {{ repeat }}", repeat: 3, params: {size.width: 64, size.height: 64}}
"""
KEY = "hero-1/0 0123456789ab"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / ".crucible").mkdir()
    return tmp_path


def saved(directory: Path, **changes: object) -> Any:
    return answer(directory, json.dumps(changes).encode())


def content(directory: Path) -> Any:
    return json.loads((directory / MARKS_FILE).read_text(encoding="utf-8"))


# -- marks.json


def test_a_pick_a_rating_and_a_note_are_in_one_file(run_dir: Path) -> None:
    saved(run_dir, marks={KEY: {"mark": "picked", "rating": 4}}, notes={"hero-1": "softer"})
    assert content(run_dir) == {
        "version": 1,
        "marks": {KEY: {"mark": "picked", "rating": 4}},
        "notes": {"hero-1": "softer"},
    }
    assert [path.name for path in run_dir.iterdir()].count(MARKS_FILE) == 1
    assert not list(run_dir.glob(".crucible-part-*"))


def test_what_a_change_leaves_out_stays(run_dir: Path) -> None:
    saved(run_dir, marks={KEY: {"mark": "picked"}}, notes={"hero-1": "softer"})
    saved(run_dir, marks={KEY: {"rating": 3}})
    assert content(run_dir)["marks"] == {KEY: {"mark": "picked", "rating": 3}}
    saved(run_dir, marks={KEY: {"mark": None}})
    assert content(run_dir)["marks"] == {KEY: {"rating": 3}}
    saved(run_dir, marks={KEY: {"rating": 0}}, notes={"hero-1": "  "})
    assert content(run_dir) == {"version": 1}


def test_changes_of_several_pages_undo_none_of_each_other(run_dir: Path) -> None:
    keys = [f"hero-{number}/0 0123456789ab" for number in range(24)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: saved(run_dir, marks={key: {"rating": 1}}), keys))
    assert sorted(read_marks(run_dir).marks) == sorted(keys)


@each_case(
    "changes",
    [
        {"marks": {"hero": {"mark": "picked"}}},
        {"rejected": [KEY], "reasons": {KEY: "x" * 501}},
        {"rejected": [KEY], "reasons": {"hero": "x"}},
        {"marks": {"../hero/0 0123456789ab": {"mark": "picked"}}},
        {"marks": {"a\nb/0 0123456789ab": {"mark": "picked"}}},
        {"marks": {"hero/0 0123456789ab\n": {"mark": "picked"}}},
        {"marks": {"hero/0 0123": {"mark": "picked"}}},
        {"marks": {KEY: {"mark": "rejected"}}},
        {"marks": {KEY: {"mark": "picked", "rating": 6}}},
        {"marks": {KEY: {"rating": "3"}}},
        {"marks": {KEY: {"stars": 3}}},
        {"notes": {"hero": "x" * 1001}},
        {"notes": {"hero/0": "x"}},
        {"notes": {f"hero-{number}": "x" for number in range(1001)}},
        {"rejected": [KEY] * 1001},
        {"rejected": ["hero"]},
        {"more": 1},
        [],
        None,
    ],
)
def test_what_is_not_a_change_of_marks_is_refused(tmp_path: Path, changes: object) -> None:
    with pytest.raises(UserError, match="not a change of marks"):
        answer(tmp_path, json.dumps(changes).encode())
    assert list(tmp_path.iterdir()) == []


@each_case("content", [b"", b"{", b"[" * 100_000, b'{"notes": {"a": "\\ud800"}}', b"\xff"])
def test_bytes_that_are_not_json_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="not a change of marks"):
        answer(tmp_path, content)


@each_case("content", [b"", b"{}x", b'{"version": 2}', b'{"version": 1, "marks": {"a": {}}}'])
def test_a_file_that_is_not_one_of_marks_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".crucible").mkdir()
    (tmp_path / MARKS_FILE).write_bytes(content)
    with pytest.raises(UserError, match="is not a file of marks"):
        saved(tmp_path, marks={KEY: {"rating": 1}})
    assert (tmp_path / MARKS_FILE).read_bytes() == content


def test_a_link_in_place_of_the_file_or_its_lock_is_not_followed(run_dir: Path) -> None:
    secret = run_dir / "secret"
    secret.write_text('{"version": 1}', encoding="utf-8")
    (run_dir / MARKS_FILE).symlink_to(secret)
    with pytest.raises(UserError, match="is not a file of marks"):
        saved(run_dir, marks={KEY: {"rating": 1}})
    (run_dir / MARKS_FILE).unlink()
    (run_dir / ".crucible" / "marks.lock").unlink()
    (run_dir / ".crucible" / "marks.lock").symlink_to(run_dir / "created")
    with pytest.raises(UserError, match="can't be written"):
        saved(run_dir, marks={KEY: {"rating": 1}})
    assert not (run_dir / "created").exists()
    assert secret.read_text(encoding="utf-8") == '{"version": 1}'


def test_a_pipe_in_place_of_the_file_is_not_waited_for(run_dir: Path) -> None:
    os.mkfifo(run_dir / MARKS_FILE)
    with pytest.raises(UserError, match="is not a file of marks"):
        read_marks(run_dir)


def test_the_file_has_a_limit(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(run_dir, notes={"hero-1": "a note"})
    before = (run_dir / MARKS_FILE).read_bytes()
    monkeypatch.setattr(marks_file, "MAX_MARKS_BYTES", 200)
    with pytest.raises(UserError, match="would be larger than"):
        saved(run_dir, notes={"hero-2": "x" * 200})
    assert (run_dir / MARKS_FILE).read_bytes() == before


# -- rejections


@pytest.fixture
def run(cli: Cli) -> Path:
    done = cli("run", cli.write("marked", JOBS))
    assert done.code == 0, done.err
    return cli.cwd / "outputs/marked/default"


def key_of(run: Path, name: str) -> str:
    jobs = json.loads((run / "report.json").read_text())["jobs"]
    (output,) = next(job["outputs"] for job in jobs if job["name"] == name)
    return f"{name}/0 {(output.get('sent') or output)['sha256'][:12]}"


def fields(run: Path) -> Any:
    return read(run)[0]["marks"]


def test_rejections_are_lines_of_the_file_that_reject_writes(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.cwd)
    keys = [key_of(run, name) for name in ("hero-1", "hero-2")]
    assert saved(run, rejected=keys) == {"unknown": []}
    lines = (run / "rejects.txt").read_text().splitlines()
    assert lines == [key.replace(" ", " g0 ") for key in keys]
    assert saved(run, rejected=keys) == {"unknown": []}
    assert (run / "rejects.txt").read_text().splitlines() == lines
    assert cli("reject", "outputs/marked/default", "hero-1", "--json").envelope["data"][
        "already"
    ] == ["hero-1/0"]
    assert saved(run, restored=[keys[0]], rejected=[]) == {"unknown": []}
    assert (run / "rejects.txt").read_text().splitlines() == lines[1:]
    assert fields(run)["marks"] == {keys[1]: {"mark": "rejected"}}


def test_a_rejection_has_a_reason_that_can_be_changed(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.cwd)
    first, second = (key_of(run, name) for name in ("hero-1", "hero-2"))
    reasons = {first: " two\nbeaks\x1b[31m ", second: "check blank: it is"}
    saved(run, rejected=[first, second], reasons=reasons)
    (line, other) = (run / "rejects.txt").read_text().splitlines()
    assert line == f"{first.replace(' ', ' g0 ')} two beaks"
    assert other == f"{second.replace(' ', ' g0 ')} Check blank: it is"
    assert fields(run)["marks"][first] == {"mark": "rejected", "reason": "two beaks"}
    # A page that does not know of it does not remove it.
    saved(run, rejected=[first])
    assert (run / "rejects.txt").read_text().splitlines() == [line, other]
    saved(run, restored=[first], rejected=[first], reasons={first: "three beaks"})
    assert fields(run)["marks"][first] == {"mark": "rejected", "reason": "three beaks"}
    saved(run, restored=[first], rejected=[first])
    assert fields(run)["marks"][first] == {"mark": "rejected"}


def test_only_bytes_that_the_run_has_are_rejected(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.cwd)
    old = key_of(run, "hero-1")
    saved(run, rejected=[old])
    assert cli("run", "marked.yaml").code == 0
    new = key_of(run, "hero-1")
    assert new != old
    gone = ["hero-1/0 000000000000", "gone/0 000000000000", "hero-1/7 " + old.split()[1]]
    assert saved(run, rejected=[new, *gone]) == {"unknown": gone}
    lines = (run / "rejects.txt").read_text().splitlines()
    assert lines == [old.replace(" ", " g0 "), new.replace(" ", " g1 ")]
    assert saved(run, restored=[old]) == {"unknown": []}
    assert saved(run, rejected=[old]) == {"unknown": []}  # a take keeps its generation
    assert (run / "rejects.txt").read_text().splitlines() == [lines[1], lines[0]]


def test_the_file_that_the_manifest_names_is_written(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = cli.cwd / cli.write("named", JOBS)
    manifest.write_text(manifest.read_text().replace("jobs:", "rejects: bad.txt\njobs:"))
    assert cli("run", "named.yaml").code == 0
    run = cli.cwd / "outputs/named/default"
    (cli.cwd / "bad.txt").write_text("# by hand\n")
    monkeypatch.chdir(cli.cwd)
    key = key_of(run, "hero-3")
    saved(run, rejected=[key])
    assert (cli.cwd / "bad.txt").read_text() == f"# by hand\n{key.replace(' ', ' g0 ')}\n"
    assert not (run / "rejects.txt").exists()
    saved(run, restored=[key])
    assert (cli.cwd / "bad.txt").read_text() == "# by hand\n"


def test_without_the_manifest_picks_are_saved_and_rejections_are_not(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.cwd)
    key = key_of(run, "hero-1")
    (cli.cwd / "marked.yaml").rename(cli.cwd / "other.yaml")
    saved(run, marks={key: {"mark": "picked"}})
    with pytest.raises(UserError, match="can't be read from here"):
        saved(run, rejected=[key])
    assert not (run / "rejects.txt").exists()
    assert fields(run)["marks"] == {key: {"mark": "picked"}}
    assert fields(run)["problem"] is None  # the journal has the file that the run has read


def test_equal_pictures_of_two_jobs_are_rejected_and_accepted_each_for_itself(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JOBS.replace("repeat: 3", "repeat: 2").replace("heron {{ repeat }}", "heron")
    assert cli("run", cli.write("equal", jobs), "-q").code == 0
    monkeypatch.chdir(cli.cwd)
    run = cli.cwd / "outputs/equal/default"
    keys = [key_of(run, name) for name in ("hero-1", "hero-2")]
    digits = keys[0].rpartition(" ")[2]
    (run / "rejects.txt").write_text(f"hero-1/0 g0 {digits}\nhero-2/0 g0 {digits}\n")
    saved(run, restored=[f"hero-1/0 {digits}"])
    assert (run / "rejects.txt").read_text() == f"hero-2/0 g0 {digits}\n"
    (run / "rejects.txt").write_text(f"former/0 g0 {digits}\n")  # the name of a renamed job
    saved(run, restored=[f"hero-1/0 {digits}"])
    assert (run / "rejects.txt").read_text() == ""


def test_a_line_that_is_added_while_another_is_removed_stays(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.cwd)
    keys = [key_of(run, name) for name in ("hero-1", "hero-2")]
    saved(run, rejected=keys[:1])
    line = keys[1].replace(" ", " g0 ")

    adding = threading.Thread(target=append_lines, args=(run / "rejects.txt", [line]))

    @contextmanager
    def replacing_beside(path: Path) -> Iterator[BinaryIO]:
        with replacing(path) as file:
            adding.start()
            adding.join(0.05)
            assert adding.is_alive()  # it waits until the file is replaced
            yield file

    with monkeypatch.context() as patched:
        patched.setattr(edited_files, "replacing", replacing_beside)
        saved(run, restored=keys[:1])
    adding.join(10)
    assert (run / "rejects.txt").read_text() == f"{line}\n"
    assert cli("reject", "outputs/marked/default", "hero-2", "--remove").code == 0
    assert (run / "rejects.txt").read_text() == ""


# -- in pages


def test_a_page_gets_what_has_changed(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cli.cwd)
    keys = [key_of(run, name) for name in ("hero-1", "hero-2")]
    before, seen = read(run)
    assert before == {"marks": {"marks": {}, "notes": {}, "problem": None}}
    assert is_current(seen)
    saved(run, marks={keys[0]: {"mark": "picked"}}, notes={"hero-1": "softer"}, rejected=[keys[1]])
    assert not is_current(seen)
    after, _ = read(run)
    marks = {keys[0]: {"mark": "picked"}, keys[1]: {"mark": "rejected"}}
    expected = {"marks": marks, "notes": {"hero-1": "softer"}, "problem": None}
    assert changes(before, after) == {"marks": expected}
    assert changes(after, before)["marks"]["marks"] == dict.fromkeys(marks)
    assert changes(after, after) == {"marks": {"marks": {}, "notes": {}, "problem": None}}


def test_the_page_that_is_written_next_has_the_marks(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.cwd)
    key = key_of(run, "hero-1")
    note = "</script><b>\u2028"
    saved(run, marks={key: {"mark": "picked", "rating": 5}}, notes={"hero-1": note})
    assert cli("report", "outputs/marked/default").code == 0
    html = (run / "report.html").read_text(encoding="utf-8")
    head = html.partition('id="report">')[2].partition("</script>")[0]
    assert json.loads(head)["marks"] == {
        "marks": {key: {"mark": "picked", "rating": 5}},
        "notes": {"hero-1": note},
        "problem": None,
    }
    assert Marks.model_validate(content(run)) == read_marks(run)
    (run / MARKS_FILE).write_text("broken")
    done = cli("report", "outputs/marked/default")
    assert (done.code, "<h1>marked</h1>" in (run / "report.html").read_text()) == (0, True)
