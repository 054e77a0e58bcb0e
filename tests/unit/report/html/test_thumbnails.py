"""Thumbnails: bounded in size, made of any picture, and never an exception."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crucible_batch.report.html import thumbnails as module
from crucible_batch.report.html.thumbnails import Miniature, Thumbnails, make_miniature
from tests.harness.case_table import each_case

CAP = 17_000


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def shown(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    assert image.format == "WEBP"
    image.load()
    return image


def noise(width: int, height: int) -> Image.Image:
    return Image.merge(
        "RGB", [Image.effect_noise((width, height), 120 + channel) for channel in range(3)]
    )


def png_that_claims(width: int, height: int) -> bytes:
    """A valid head, and next to nothing behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("cap", [60_000, CAP, 4_000])
def test_even_noise_stays_within_the_bound(tmp_path: Path, cap: int) -> None:
    made = make_miniature(saved(tmp_path / "n.png", noise(900, 700)), cap)
    assert made is not None
    assert len(made.content) <= cap
    assert shown(made.content).size == (made.width, made.height)


def test_a_picture_keeps_its_shape_and_is_not_made_larger(tmp_path: Path) -> None:
    wide = make_miniature(saved(tmp_path / "w.png", Image.new("RGB", (1200, 300), "navy")), CAP)
    tiny = make_miniature(saved(tmp_path / "t.png", Image.new("RGB", (24, 16), "navy")), CAP)
    assert wide is not None
    assert wide.width == 4 * wide.height
    assert tiny is not None
    assert (tiny.width, tiny.height) == (24, 16)


def test_a_photo_that_lies_on_its_side_is_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = make_miniature(
        saved(tmp_path / "p.jpg", Image.new("RGB", (400, 200), "red"), exif=exif), CAP
    )
    assert made is not None
    assert made.height == 2 * made.width
    assert not shown(made.content).getexif()


@each_case("name", ["clear.png", "clear.webp", "palette.gif"])
def test_transparency_is_kept(tmp_path: Path, name: str) -> None:
    image = Image.new("RGBA", (80, 60), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 40, 60))
    made = make_miniature(saved(tmp_path / name, image), CAP)
    assert made is not None
    small = shown(made.content).convert("RGBA")
    assert small.getpixel((70, 30))[3] < 20  # type: ignore[index]
    assert small.getpixel((10, 30))[3] > 235  # type: ignore[index]


def test_the_first_frame_stands_for_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (60, 60), color) for color in ("red", "blue")]
    made = make_miniature(
        saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:]), CAP
    )
    assert made is not None
    red, _, blue = shown(made.content).convert("RGB").getpixel((30, 30))  # type: ignore[misc]
    assert red > 200 > blue


@each_case(
    "mode, value, expected",
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("L", 128, (128, 128, 128)),
        ("I;16", 32768, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_any_mode_keeps_its_colours(
    tmp_path: Path, mode: str, value: object, expected: tuple[int, int, int]
) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    image = Image.new(mode, (50, 50), value)  # type: ignore[arg-type]
    made = make_miniature(saved(tmp_path / f"m.{suffix}", image), CAP)
    assert made is not None
    pixel: Any = shown(made.content).convert("RGB").getpixel((25, 25))
    assert all(abs(got - wanted) <= 6 for got, wanted in zip(pixel, expected, strict=True))


NO_PICTURES = {
    "empty": b"",
    "text": b"no picture",
    "head": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 50,
    "webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\0" * 40,
    "gif": b"GIF89a" + b"\xff" * 30,
    "tiff": b"II*\0" + b"\xff" * 40,
    "bomb": png_that_claims(60_000, 60_000),
    "huge": png_that_claims(12_000, 12_000),
    "cut": png_that_claims(300, 300),
}


@each_case("name", NO_PICTURES)
def test_what_is_no_picture_leaves_its_place_free(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(NO_PICTURES[name])
    assert make_miniature(tmp_path / "x", CAP) is None


def test_neither_a_link_nor_a_folder_nor_nothing_is_followed(tmp_path: Path) -> None:
    saved(tmp_path / "real.png", Image.new("RGB", (9, 9)))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "folder.png").mkdir()
    assert [
        make_miniature(tmp_path / name, CAP) for name in ("link.png", "folder.png", "none.png")
    ] == [None] * 3


def test_a_thumbnail_is_made_once_and_found_again(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", Image.new("RGB", (300, 200), "teal"))
    with Thumbnails(tmp_path, 1) as first:
        made = first.begin("a.png", "ab" * 32)()
    (tmp_path / "a.png").unlink()
    with Thumbnails(tmp_path, 1) as second:
        assert second.begin("a.png", "ab" * 32)() == made
    assert made is not None


def test_a_thousand_fit_into_the_page_and_more_lie_beside_it(tmp_path: Path) -> None:
    saved(tmp_path / "n.png", noise(640, 480))
    for jobs, inline in ((1000, True), (1001, False)):
        with Thumbnails(tmp_path, jobs) as thumbnails:
            made = thumbnails.begin("n.png", f"{jobs:064x}"[::-1])()
            placed = [thumbnails.placed(made, "cd" * 32, shown_size=(4, 3)) for _ in range(1000)]
        sources = [thumbnail.source or "" for thumbnail in placed]
        assert all(source.startswith("data:image/webp;base64,") is inline for source in sources)
        assert sum(map(len, sources)) < 24_000_000
    assert placed[0].source == f"thumbnails/{'cd' * 20}.webp"
    assert shown((tmp_path / str(placed[0].source)).read_bytes()).width == placed[0].width


def test_a_disk_that_takes_no_thumbnail_costs_a_picture_and_nothing_else(tmp_path: Path) -> None:
    saved(tmp_path / "n.png", Image.new("RGB", (40, 30)))
    (tmp_path / "thumbnails").write_text("in the way")
    (tmp_path / ".crucible").write_text("in the way")
    with Thumbnails(tmp_path, 5000) as thumbnails:
        placed = thumbnails.placed(
            thumbnails.begin("n.png", "ab" * 32)(), "ab" * 32, shown_size=(40, 30)
        )
    assert (placed.source, placed.width, placed.height) == (None, 40, 30)


def test_no_thumbnail_is_written_through_a_link(tmp_path: Path) -> None:
    run_dir, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (run_dir / ".crucible").mkdir(parents=True)
    (run_dir / "thumbnails").symlink_to(outside)
    (run_dir / ".crucible/thumbnails").symlink_to(outside)
    saved(run_dir / "n.png", Image.new("RGB", (40, 30)))
    with Thumbnails(run_dir, 5000) as thumbnails:
        placed = thumbnails.placed(
            thumbnails.begin("n.png", "ab" * 32)(), "ab" * 32, shown_size=(40, 30)
        )
    assert (placed.source, list(outside.iterdir())) == (None, [])


def placed_again(run_dir: Path) -> tuple[Path, int]:
    """Place the same thumbnail once more, and return its file with the file's inode."""
    with Thumbnails(run_dir, 5000) as thumbnails:
        thumbnails.placed(thumbnails.begin("n.png", "ab" * 32)(), "ab" * 32, shown_size=(40, 30))
    (path,) = (run_dir / "thumbnails").iterdir()
    return path, path.lstat().st_ino


def test_a_thumbnail_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    saved(tmp_path / "n.png", Image.new("RGB", (40, 30)))
    assert placed_again(tmp_path) == placed_again(tmp_path)


def test_a_file_or_a_link_in_the_place_of_a_thumbnail_is_replaced(tmp_path: Path) -> None:
    saved(tmp_path / "n.png", Image.new("RGB", (40, 30)))
    path, _ = placed_again(tmp_path)
    content = path.read_bytes()
    path.write_bytes(b"x" * len(content))
    placed_again(tmp_path)
    assert path.read_bytes() == content
    (tmp_path / "same").write_bytes(content)
    path.unlink()
    path.symlink_to(tmp_path / "same")
    placed_again(tmp_path)
    assert not path.is_symlink()


def test_a_run_that_saves_faster_than_thumbnails_are_made_leaves_the_rest_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_AHEAD", 3)
    begun: list[Path] = []
    go_on = threading.Event()

    def slowly(path: Path, _sha256: str) -> Miniature | None:
        begun.append(path)
        go_on.wait(60)
        return None

    with Thumbnails(tmp_path, 2000) as thumbnails:
        monkeypatch.setattr(thumbnails, "_kept", slowly)
        for number in range(100):
            thumbnails.begin_ahead(f"{number}.png", "ab" * 32)
        last = thumbnails.begin("last.png", "cd" * 32)  # the page itself leaves nothing out
        go_on.set()
        last()
    assert sorted(path.name for path in begun) == ["0.png", "1.png", "2.png", "last.png"]


@each_case(
    "path",
    ["../secret.png", "a/../../secret.png", "link/secret.png", "round/x.png", "a\0/x.png", ""],
)
def test_nothing_outside_of_the_run_directory_is_shown(tmp_path: Path, path: str) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "a").mkdir(parents=True)
    saved(tmp_path / "secret.png", Image.new("RGB", (30, 20), "teal"))
    (run_dir / "link").symlink_to(tmp_path)
    (run_dir / "round").symlink_to("round")
    with Thumbnails(run_dir, 1) as thumbnails:
        assert thumbnails.begin(path or str(tmp_path / "secret.png"), "ab" * 32)() is None
        assert thumbnails.of_input(str(tmp_path / "secret.png"), "cd" * 32).source is not None
