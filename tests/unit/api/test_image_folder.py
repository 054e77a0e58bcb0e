"""Folders of images as rows: which files are images, what their jobs are called, and where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from crucible_batch.api import image_folder
from crucible_batch.api.image_folder import list_images
from crucible_batch.errors import UserError
from tests.case_table import each_case


def photo(path: Path, form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, form)


def test_names_differ_also_where_case_and_composition_do_not_count(tmp_path: Path) -> None:
    for name in ("a.png", "A.jpg", "a.webp", "a-2.png", "é.png", "e\u0301.jpg"):
        photo(tmp_path / name)
    found = list_images(tmp_path, tmp_path)
    assert [image.name for image in found.images] == ["A", "a-2", "a-3", "a-4", "é", "é-2"]
    assert not found.leads_out


@each_case("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_an_image_is_known_by_its_content(tmp_path: Path, form: str) -> None:
    photo(tmp_path / "a.dat", form)
    (tmp_path / "b.png").write_text("a text")
    found = list_images(tmp_path, tmp_path)
    assert [image.path for image in found.images] == ["a.dat"]
    assert [name for name, _ in found.skipped] == ["b.png"]


def test_an_image_that_could_not_be_uploaded_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes() + b"x")
    size = (tmp_path / "a.png").stat().st_size
    monkeypatch.setattr("crucible_batch.input_images.MAX_BYTES", size)
    assert list_images(tmp_path, tmp_path).skipped == (("b.png", "is larger than 0 MiB"),)


def test_paths_are_relative_to_a_manifest_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    photo(tmp_path / "photos/a.png")
    found = list_images(tmp_path / "photos", tmp_path / "deep/batch")
    assert (found.images[0].path, found.leads_out) == ("../../photos/a.png", True)
    assert list_images(tmp_path / "photos", tmp_path).leads_out is False


def test_a_link_to_an_image_outside_leads_out(tmp_path: Path) -> None:
    photo(tmp_path / "elsewhere/a.png")
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch/a.png").symlink_to(tmp_path / "elsewhere/a.png")
    found = list_images(tmp_path / "batch", tmp_path / "batch")
    assert (found.images[0].path, found.leads_out) == ("a.png", True)


def test_more_images_than_a_manifest_may_have_jobs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "MAX_JOBS", 1)
    photo(tmp_path / "a.png")
    assert len(list_images(tmp_path, tmp_path).images) == 1
    photo(tmp_path / "b.png")
    with pytest.raises(UserError, match="more than 1 images"):
        list_images(tmp_path, tmp_path)
