"""The list of runs: its totals, a first run that it waits for, and two of its runs compared."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crucible_batch.view import runs
from crucible_batch.view.runs import Runs
from tests.integration.cli.conftest import Cli

from .conftest import Viewer, viewing

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


def figures(text: str) -> list[str]:
    return re.findall(r'<p class="figure">(.*?)</p>', text)


def test_the_list_has_totals_and_what_search_and_sort_need(two_runs: Cli) -> None:
    with viewing(two_runs) as viewer:
        text = viewer.get("/").text
    assert figures(text) == ["2", "4", "8"]
    assert 'data-name="pair · second" data-pictures="2" data-credits="4" data-failed="1"' in text
    assert text.index("pair · second") < text.index('data-name="pair"')  # the newest first


def test_two_runs_are_compared_by_the_names_of_their_jobs(two_runs: Cli) -> None:
    with viewing(two_runs) as viewer:
        first, second = viewer.key("pair/default"), viewer.key("pair/second")
        text = viewer.get(f"/compare/{first}/{second}").text
        assert text.count('<article class="pair">') == 4
        assert "2 jobs have the same name in both runs" in text
        assert "<mark>&lt;b&gt;quiet&lt;/b&gt; </mark>" in text
        assert "<b>quiet" not in text
        assert text.count("not in this run") == 2
        assert text.count("MODERATION_REFUSED") == 2
        assert len(re.findall(rf"/thumbnails/{first}/[0-9a-f]+", text)) == 2
        for address in re.findall(r'src="(/thumbnails/[^"]+)"', text):
            assert viewer.get(address).headers["content-type"] == "image/webp"
        counts = {"different": 2, "first": 1, "second": 1, "same": 0}
        for chosen, count in counts.items():
            shown = viewer.get(f"/compare/{first}/{second}?show={chosen}").text
            assert shown.count('<article class="pair">') == count
        assert viewer.get(f"/compare/{first}/{first}?show=same").text.count('<article class="pair">') == 3


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/compare/{key}/000000000000", 404),
        ("/compare/../{key}", 404),
        ("/compare/{key}/%2e%2e", 404),
        ("/compare/{key}/", 404),
        ("/compare/{key}/{key}?page=-1", 400),
        ("/compare/{key}/{key}?page=x", 400),
        ("/compare/{key}/{key}?page=999999999999999", 200),
        ("/compare/{key}/{key}?show=%3Cscript%3Ealert(1)%3C/script%3E", 200),
    ],
)
def test_a_comparison_takes_keys_of_runs_and_reflects_nothing(
    viewer: Viewer, finished: Cli, address: str, status: int
) -> None:
    answer = viewer.get(address.format(key=viewer.key("done/default")))
    assert answer.status_code == status
    assert "alert(1)" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_hostile_names_and_prompts_stay_text(two_runs: Cli, tmp_path: Path, instant: str) -> None:
    cli = Cli(tmp_path, instant)
    assert cli("run", cli.write("bad", PAIR)).code == 1
    hostile = "</script><img src=x onerror=alert(1)>"
    with sqlite3.connect(cli.cwd / "outputs/bad/default/.crucible/journal.sqlite3") as connection:
        connection.execute("UPDATE runs SET terms = json_set(terms, '$.manifest_name', ?)", (hostile * 200,))
        connection.execute("UPDATE plan SET body = json_set(body, '$.name', ?, '$.prompt', ?)", (hostile, hostile))
    connection.close()
    with viewing(cli) as viewer:
        key = viewer.key("bad/default")
        for address in ("/", f"/compare/{key}/{key}"):
            text = viewer.get(address).text
            assert "<img src=x" not in text
            assert "&lt;img src=x" in text
            assert len(text) < 100_000


def test_an_unreadable_run_is_not_compared(two_runs: Cli, tmp_path: Path, instant: str) -> None:
    cli = Cli(tmp_path, instant)
    assert cli("run", cli.write("fine")).code == 0
    (cli.cwd / "outputs/broken/.crucible").mkdir(parents=True)
    (cli.cwd / "outputs/broken/.crucible/journal.sqlite3").write_bytes(b"no database" * 100)
    with viewing(cli) as viewer:
        text = viewer.get("/").text
        assert text.count('type="checkbox"') == 1
        (broken,) = set(re.findall(r'data-key="(\w+)"', text)) - {viewer.key("fine/default")}
        assert viewer.get(f"/compare/{viewer.key('fine/default')}/{broken}").status_code == 503


def test_view_waits_for_the_first_run_of_a_missing_outputs_folder(cli: Cli) -> None:
    assert not (cli.cwd / "outputs").exists()
    with viewing(cli) as viewer:
        text = viewer.get("/").text
        assert "No run yet" in text
        assert "crucible-batch run MANIFEST" in text
        assert '<noscript><meta http-equiv="refresh"' in text
        run = cli.start("run", cli.write("first-one"))
        with closing(viewer.events("/events")) as events:
            for _ in events:
                if "first-one/default" in viewer.get("/").text:
                    break
        assert "<noscript>" not in viewer.get("/").text
        run.communicate(timeout=120)
    assert cli("view", "nowhere").code == 2  # another directory has to exist: its name may be misspelled
    (cli.cwd / "file").write_text("x")
    assert cli("view", "file").code == 2


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


def test_a_running_run_has_a_pace_and_an_estimate(cli: Cli) -> None:
    jobs = "- {name: harbour, prompt: a harbour, repeat: 8}"
    run = cli.start("run", cli.write("paced", jobs))
    with viewing(cli) as viewer:
        with closing(viewer.events("/events")) as events:
            for _ in events:
                if "paced/default" in viewer.get("/").text:
                    break
        key = viewer.key("paced/default")
        live = viewer.data(key)["live"]
        stream = viewer.events(f"/events/{key}?edition={live['edition']}&after={live['number']}")
        paces = [
            json.dumps(change.get("pace") or change["live"]["pace"]) for kind, change in stream if kind != "replaced"
        ]
        known = [json.loads(pace) for pace in paces if pace != "null"]
        assert known
        assert all(pace["per_min"] > 0 and 0 < pace["low_s"] <= pace["likely_s"] for pace in known)
        run.communicate(timeout=120)
        assert viewer.data(key)["live"]["pace"] is None
