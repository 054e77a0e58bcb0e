"""The list of runs: how many, and a first run that it waits for."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from crucible_batch.features.view import runs
from crucible_batch.features.view.runs import Runs
from tests.features.view.conftest import viewing
from tests.harness.commands import Cli

PAIR = """\
- name: harbour
  prompt: "A harbour, {{ style }}"
  matrix: {style: [noir, gouache]}
- {name: only-once, prompt: nsfw}
"""


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory, instant: str) -> Cli:
    """A folder with a run, and another that asks for other prompts and has another job."""
    cli = Cli(tmp_path_factory.mktemp("two"), instant)
    assert cli("run", cli.write("pair", PAIR)).code == 1
    other = PAIR.replace("A harbour", "A <b>quiet</b> harbour").replace("only-once", "new-one")
    assert cli("run", cli.write("pair", other), "--run-id", "second").code == 1
    return cli


def test_the_list_counts_its_runs_and_has_what_search_and_sort_need(two_runs: Cli) -> None:
    with viewing(two_runs) as viewer:
        text = viewer.get("/").text
    assert '<p class="dim">2 runs</p>' in text
    assert 'data-name="pair · second" data-pictures="2" data-credits="4" data-failed="1"' in text
    assert text.index("pair · second") < text.index('data-name="pair"')  # the newest first


def test_hostile_names_and_prompts_stay_text(two_runs: Cli, tmp_path: Path, instant: str) -> None:
    cli = Cli(tmp_path, instant)
    assert cli("run", cli.write("bad", PAIR)).code == 1
    hostile = "</script><img src=x onerror=alert(1)>"
    with sqlite3.connect(cli.cwd / "outputs/bad/default/.crucible/journal.sqlite3") as connection:
        connection.execute(
            "UPDATE runs SET terms = json_set(terms, '$.manifest_name', ?)", (hostile * 200,)
        )
        connection.execute(
            "UPDATE plan SET body = json_set(body, '$.name', ?, '$.prompt', ?)", (hostile, hostile)
        )
    connection.close()
    with viewing(cli) as viewer:
        text = viewer.get("/").text
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text
        assert len(text) < 100_000


def test_a_file_in_place_of_outputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("x")
    assert Cli(tmp_path, None)("view").code == 2


async def test_older_runs_beyond_the_limit_are_counted_and_can_be_opened(
    two_runs: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST_LISTED", 1)
    shown = Runs(two_runs.cwd / "outputs")
    (entry,) = await shown.entries()
    assert entry.run.directory.name == "second"
    assert shown.count == 2
    (older,) = [key for key, path in runs.find_runs(shown.root).items() if path.name == "default"]
    assert await shown.get(older) is not None
