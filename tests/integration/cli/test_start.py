"""The first steps: init, sandbox, demo."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from crucible_batch.cli.demo import has_screen
from tests.harness.commands import KEY, Cli
from tests.harness.screen import Screen
from tests.harness.shell import printed_commands, typed
from tests.harness.slow_cases import quick_every


def test_the_starter_folder_runs_as_printed_in_one_shell(cli: Cli) -> None:
    done = cli("init", "my batch")
    assert done.code == 0
    ran = typed(cli, done.out, then_run=True, then="pwd")
    assert ran.returncode == 0, ran.stderr
    folder = cli.cwd / "my batch"
    assert ran.stdout.splitlines()[-1] == str(folder), (
        "the printed commands don't lead into the folder"
    )
    assert (folder / "outputs/my-batch/default/teapot-garden/0.jpg").is_file()
    assert not (cli.cwd / "outputs").exists()
    assert (
        "yaml-language-server: $schema=manifest.schema.json"
        in (folder / "manifest.yaml").read_text()
    )


def test_a_starter_here_needs_no_change_of_folder(cli: Cli) -> None:
    done = cli("init")
    assert not [
        command for command in printed_commands(done.out, "next") if command.startswith("cd ")
    ]
    assert typed(cli, done.out).returncode == 0


def test_the_key_of_the_starter_folder_is_found_by_the_printed_commands(cli: Cli) -> None:
    lonely = Cli(cli.cwd, None)
    done = lonely("init", "my-batch")
    example = (cli.cwd / "my-batch/.env.example").read_text()
    assert cli.url is not None
    given = example.replace(
        "MOLTAZINE_API_KEY=", f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={cli.url}"
    )
    (cli.cwd / "my-batch/.env").write_text(given)
    ran = typed(lonely, done.out, then_run=True)
    assert ran.returncode == 0, ran.stderr


def test_a_starter_has_the_name_of_its_folder_so_that_two_do_not_share_a_run(
    lonely_cli: Cli,
) -> None:
    for folder in ("spring", "2027 [new]: yes"):
        assert lonely_cli("init", folder).code == 0
    for folder, name in [("spring", "spring"), ("2027 [new]: yes", "2027-new-yes")]:
        done = lonely_cli("validate", f"{folder}/manifest.yaml", "--json")
        assert (done.code, done.envelope["data"]["manifests"][0]["name"]) == (0, name)


def test_init_overwrites_nothing(lonely_cli: Cli) -> None:
    mine = lonely_cli.cwd / "products.csv"
    mine.write_text("mine")
    done = lonely_cli("init")
    assert done.code == 2
    assert "products.csv already exists" in done.err
    assert [path.name for path in lonely_cli.cwd.iterdir()] == ["products.csv"]
    assert mine.read_text() == "mine"


def test_init_in_a_folder_of_any_depth_ends_in_words(lonely_cli: Cli) -> None:
    done = lonely_cli("init", "d/" * 1500)
    assert (done.code, "too many folders above it" in done.err) == (2, True)


def test_init_writes_through_no_link(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "elsewhere").mkdir()
    (lonely_cli.cwd / "here").mkdir()
    (lonely_cli.cwd / "here/photos").symlink_to("../elsewhere")
    done = lonely_cli("init", "here")
    assert (done.code, "here/photos is a link" in done.err) == (2, True)
    assert not [*(lonely_cli.cwd / "elsewhere").iterdir()]


def test_the_demo_works_where_an_earlier_one_has_been(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "outputs/demo/default").mkdir(parents=True)
    done = lonely_cli("demo", "--json")
    assert done.code == 0, done.err
    data = done.envelope["data"]
    assert data["run_dir"] == "outputs/demo/default-2"
    assert data["counts"]["succeeded"] == data["counts"]["total"] > 20
    report = json.loads((lonely_cli.cwd / data["report"]).read_text())
    assert all(
        (lonely_cli.cwd / data["run_dir"] / job["outputs"][0]["path"]).is_file()
        for job in report["jobs"]
    )


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A browser that only writes down what it is to show."""
    script = tmp_path / "browser"
    script.write_text('#!/bin/sh\necho "$1" >> "$0.shows"\n')
    script.chmod(0o755)
    return script


def test_the_demo_opens_its_grid_for_who_looks_on_and_has_a_screen(
    lonely_cli: Cli, browser: Path
) -> None:
    with closing(
        Screen(lonely_cli, ["demo"], 100, BROWSER=f"{browser} %s", DISPLAY=":0")
    ) as screen:
        assert screen.finish() == 0
    assert "Opening the comparison grid in your browser" in screen.text
    grid = lonely_cli.cwd / "outputs/demo/default/.crucible/grid.html"
    assert browser.with_name("browser.shows").read_text() == f"{grid.as_uri()}\n"
    assert 'url=../report.html#view=compare"' in grid.read_text()


@pytest.mark.parametrize(
    ("words", "screen"), quick_every(3, [((), ":0"), (("--no-open",), ":0"), (("--open",), "")])
)
def test_the_demo_opens_nothing_in_a_log_and_where_it_is_told_not_to(
    lonely_cli: Cli, browser: Path, words: tuple[str, ...], screen: str
) -> None:
    done = lonely_cli("demo", *words, BROWSER=f"{browser} %s", DISPLAY=screen)
    assert done.code == 0
    assert browser.with_name("browser.shows").exists() is ("--open" in words)


@pytest.mark.parametrize(
    ("environ", "platform", "there"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_a_screen_is_there_or_not(environ: dict[str, str], platform: str, there: bool) -> None:
    assert has_screen(environ, platform) is there


def test_the_sandbox_refuses_a_taken_port_and_unknown_faults(lonely_cli: Cli, gateway: str) -> None:
    taken = lonely_cli("sandbox", "--port", gateway.rpartition(":")[2])
    assert taken.code == 2
    assert "can't start" in taken.err
    unknown = lonely_cli("sandbox", "--faults", "flood:0.1")
    assert unknown.code == 2
    assert "flood" in unknown.err


def test_the_sandbox_refuses_prices_that_it_can_not_ask(lonely_cli: Cli) -> None:
    for rule, about in (
        ("zimage-base.discount=2", "known are base, size"),
        ("nope.base=2", "known are zimage-base"),
    ):
        refused = lonely_cli("sandbox", "--pricing", rule)
        assert (refused.code, about in " ".join(refused.err.split())) == (2, True)
