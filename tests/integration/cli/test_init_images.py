"""``init --images``: a manifest for a folder of images that is valid, runs, and whose next command works as printed."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.integration.cli.conftest import Cli, Done
from tests.integration.cli.typing_along import typed

PROMPT = "the same cup on {white}: \"marble\", 'oak' # 1"


def photo(path: Path, color: str = "teal", form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path, form)


def follow(cli: Cli, done: Done) -> subprocess.CompletedProcess[str]:
    """Type what ``init`` printed as next, then what that printed as next, in one shell."""
    return typed(cli, done.out, then_run=True)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_photos_becomes_a_manifest_that_runs(cli: Cli) -> None:
    for name, color in (
        ("cup.JPG", "teal"),
        ("cup.png", "red"),
        ("Größe, 1.webp", "blue"),
        ("copy of cup.jpg", "teal"),
    ):
        photo(cli.cwd / "it's mine/photos" / name, color)
    (cli.cwd / "it's mine/photos/notes.txt").write_text("notes")
    (cli.cwd / "it's mine/photos/broken.jpg").write_bytes(b"\xff\xd8")
    (cli.cwd / "it's mine/photos/.hidden.jpg").write_bytes(b"x")
    photo(cli.cwd / "it's mine/photos/sub/deep.png")
    done = cli("init", "it's mine", "--images", "it's mine/photos", "--prompt", PROMPT)
    assert done.code == 0, done.err
    assert "a manifest for 4 images: it's mine" in done.out
    assert "notes.txt: is not a valid image" in done.out
    assert "broken.jpg: " in done.out
    mine = cli.cwd / "it's mine"
    assert cli("validate", "it's mine/manifest.yaml").code == 0
    assert [row["name"] for row in table(mine)] == ["Größe, 1", "copy of cup", "cup", "cup-2"]
    ran = follow(cli, done)
    assert ran.returncode == 0, ran.stderr
    assert [path for path in cli.cwd.rglob("outputs/it-s-mine/default/cup-2") if path.is_dir()]
    manifest: Any = yaml.safe_load((mine / "manifest.yaml").read_text(encoding="utf-8"))
    assert manifest["jobs"][0]["prompt"] == PROMPT


ELSEWHERE = [("batch", "my photos [1]"), (".", "../my photos [1]"), ("batch", "../my photos [1]")]


@pytest.mark.parametrize(("directory", "photos"), ELSEWHERE)
def test_images_elsewhere_need_no_option_to_be_used(cli: Cli, directory: str, photos: str) -> None:
    desk = Cli(cli.cwd / "desk", cli.url)
    desk.cwd.mkdir()
    photo(desk.cwd / photos / "*a'.png")
    before = (desk.cwd / photos / "*a'.png").read_bytes()
    done = desk("init", directory, "--images", photos, "--prompt", "p", "--workflow", "qwen-edit")
    assert done.code == 0, done.err
    assert "--allow-outside" not in done.out
    assert (desk.cwd / photos / "*a'.png").read_bytes() == before
    ran = follow(desk, done)
    assert ran.returncode == 0, ran.stderr
    (manifest,) = cli.cwd.rglob("manifest.yaml")
    assert "--allow-outside" not in manifest.read_text(encoding="utf-8")
    beside = Cli(manifest.parent, cli.url)
    assert beside("validate", "manifest.yaml").code == 0
    assert beside("run", "manifest.yaml", "--budget", "10").code == 0


@pytest.mark.parametrize("photos", ["my photos", "../my photos"])
def test_a_folder_of_images_alone_is_enough(cli: Cli, photos: str) -> None:
    desk = Cli(cli.cwd / "desk", cli.url)
    desk.cwd.mkdir()
    photo(desk.cwd / photos / "a.png")
    done = desk("init", "--images", photos, "--prompt", "p")
    assert done.code == 0, done.err
    assert "--allow-outside" not in done.out
    ran = follow(desk, done)
    assert ran.returncode == 0, ran.stderr


def test_a_second_manifest_for_images_elsewhere_overwrites_nothing(lonely_cli: Cli) -> None:
    photo(lonely_cli.cwd / "in/a.png")
    assert lonely_cli("init", "batch", "--images", "in", "--prompt", "p").code == 0
    before = {path: path.read_bytes() for path in lonely_cli.cwd.rglob("*") if path.is_file()}
    again = lonely_cli("init", "batch", "--images", "in", "--prompt", "other")
    assert (again.code, "already exists" in again.err) == (2, True)
    assert {path: path.read_bytes() for path in lonely_cli.cwd.rglob("*") if path.is_file()} == before


def test_a_folder_that_links_to_elsewhere_can_be_used_as_printed(cli: Cli) -> None:
    photo(cli.cwd / "elsewhere/a.png")
    (cli.cwd / "batch").mkdir()
    (cli.cwd / "batch/photos").symlink_to("../elsewhere")
    done = cli("init", "batch", "--images", "batch/photos", "--prompt", "p")
    assert done.code == 0, done.err
    ran = follow(cli, done)
    assert ran.returncode == 0, ran.stderr


def test_here_needs_no_change_of_folder_and_keeps_what_is_there(lonely_cli: Cli) -> None:
    photo(lonely_cli.cwd / "a.gif")
    (lonely_cli.cwd / ".gitignore").write_text("mine\n")
    done = lonely_cli("init", "--images", ".", "--prompt", "@home {{ row.name }}")
    assert "next     crucible-batch plan manifest.yaml" in done.out
    assert (lonely_cli.cwd / ".gitignore").read_text() == "mine\n"
    assert 'prompt: "@@home {{ row.name }}"' in (lonely_cli.cwd / "manifest.yaml").read_text()
    assert lonely_cli("validate", "manifest.yaml").code == 0
    before = (lonely_cli.cwd / "manifest.yaml").read_bytes()
    again = lonely_cli("init", "--images", ".", "--prompt", "other")
    assert (again.code, "manifest.yaml already exists" in again.err) == (2, True)
    assert (lonely_cli.cwd / "manifest.yaml").read_bytes() == before


HOSTILE = [
    "back\\slash.png",
    "new\nline.png",
    "=cmd.png",
    "{{ row }}.png",
    "@at.png",
    "con.png",
    "-dash.png",
    "a.b.png",
]


def test_names_of_any_kind_give_safe_and_different_names(cli: Cli) -> None:
    for number, name in enumerate([*HOSTILE, "A.B.PNG", "x" * 200 + ".png", "x" * 201 + ".png"]):
        photo(cli.cwd / "p" / name, f"#0000{number:02x}", "PNG")
    (cli.cwd / "p" / "not-utf8-\udcff.png").write_bytes((cli.cwd / "p/con.png").read_bytes())
    done = cli("init", "--images", "p", "--prompt", "p\u2028\x85\x7f😀")
    assert done.code == 0, done.err
    assert "11 images" in done.out
    assert "is not UTF-8" in done.out
    assert cli("validate", "manifest.yaml").code == 0
    names = [row["name"] for row in table(cli.cwd)]
    assert len({name.lower() for name in names}) == 11
    done = cli("run", "manifest.yaml", "--budget", "100", "-q")
    assert done.code == 0, done.err


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--images", "empty", "--prompt", "p"), "empty has no images"),
    (("--images", "texts", "--prompt", "p"), "texts has no images; 'a.txt' is not a valid image"),
    (("--images", "gone", "--prompt", "p"), "gone can't be read: no such file or directory"),
    (("--images", "texts/a.txt", "--prompt", "p"), "texts/a.txt can't be read: not a directory"),
    (("--images", "photos"), "--images needs a prompt"),
    (("--prompt", "p"), "--prompt and --workflow need a folder of images"),
    (("--workflow", "qwen-edit"), "--prompt and --workflow need a folder of images"),
    (("--images", "photos", "--prompt", " "), "the prompt is empty"),
    (("--images", "photos", "--prompt", "{{ nope }}"), "--prompt: "),
    (("--images", "photos", "--prompt", "{{ row.name"), "--prompt: "),
    (("--images", "photos", "--prompt", "p", "--workflow", "{{ nope }}"), "--workflow: "),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(
    lonely_cli: Cli, options: tuple[str, ...], message: str
) -> None:
    (lonely_cli.cwd / "empty").mkdir()
    (lonely_cli.cwd / "texts").mkdir()
    (lonely_cli.cwd / "texts/a.txt").write_text("a")
    photo(lonely_cli.cwd / "photos/a.png")
    done = lonely_cli("init", "batch", *options)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert not [path for path in lonely_cli.cwd.glob("batch/**/*") if path.is_file()]
