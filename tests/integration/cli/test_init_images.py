"""``init --images``: a manifest for a folder of images that is valid, runs, and whose next command works as printed."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.integration.cli.conftest import Cli, Done

PROMPT = "the same cup on {white}: \"marble\", 'oak' # 1"


def photo(path: Path, color: str = "teal", form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path, form)


def next_command(done: Done) -> list[str]:
    """The words of the printed next command."""
    (line,) = [line for line in done.out.splitlines() if line.strip().startswith("next")]
    return shlex.split(line.replace("next", "", 1))[1:]


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
    words = next_command(done)
    assert words == ["plan", "it's mine/manifest.yaml"]
    mine = cli.cwd / "it's mine"
    assert cli("validate", "it's mine/manifest.yaml").code == 0
    assert [row["name"] for row in table(mine)] == ["Größe, 1", "copy of cup", "cup", "cup-2"]
    planned = cli(*words)
    assert planned.code == 0, planned.err
    (follow,) = re.findall(r"next +crucible-batch (run .*)", planned.out)
    ran = cli(*shlex.split(follow))
    assert ran.code == 0, ran.err
    assert (cli.cwd / "outputs/it-s-mine/default/cup-2").is_dir()
    manifest: Any = yaml.safe_load((mine / "manifest.yaml").read_text(encoding="utf-8"))
    assert manifest["jobs"][0]["prompt"] == PROMPT


def test_images_elsewhere_are_reached_by_the_printed_command(cli: Cli) -> None:
    photo(cli.cwd / "my photos [1]/*a'.png")
    done = cli("init", "batch", "--images", "my photos [1]", "--prompt", "p", "--workflow", "qwen-edit")
    assert done.code == 0, done.err
    words = next_command(done)
    assert words == ["plan", "batch/manifest.yaml", "--allow-outside"]
    assert table(cli.cwd / "batch")[0]["image"] == "../my photos [1]/*a'.png"
    assert cli(*words).code == 0
    assert cli("validate", "batch/manifest.yaml", "--allow-outside").code == 0
    assert cli("run", "batch/manifest.yaml", "--allow-outside", "--budget", "10").code == 0


def test_a_folder_that_links_to_elsewhere_is_outside_too(lonely_cli: Cli) -> None:
    photo(lonely_cli.cwd / "elsewhere/a.png")
    (lonely_cli.cwd / "batch").mkdir()
    (lonely_cli.cwd / "batch/photos").symlink_to("../elsewhere")
    done = lonely_cli("init", "batch", "--images", "batch/photos", "--prompt", "p")
    assert next_command(done)[-1] == "--allow-outside"


def test_here_needs_no_change_of_folder_and_keeps_what_is_there(lonely_cli: Cli) -> None:
    photo(lonely_cli.cwd / "a.gif")
    (lonely_cli.cwd / ".gitignore").write_text("mine\n")
    done = lonely_cli("init", "--images", ".", "--prompt", "@home {{ row.name }}")
    assert next_command(done) == ["plan", "manifest.yaml"]
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
