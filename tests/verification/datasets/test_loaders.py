"""Exports, loaded by the real ``datasets`` and ``webdataset``.

The jobs have names that these take for something else: a split of the data, a hidden file, the end
of a key.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import webdataset
from PIL import Image

import crucible_batch as api
from crucible_batch.features.export import forms
from tests.harness.commands import Cli

NAMES = ("heron", "test-1", "train", "validation v1.5", "__init", "eval=dev+x", "鷺 (2)")
JOBS = "\n".join(
    f'- {{name: "{name}", prompt: "no. {number}, \\"quoted\\"\\nand = two lines",'
    f" params: {{size.width: 64, size.height: {64 + 8 * number}}}}}"
    for number, name in enumerate(NAMES)
)
PROMPTS = {name: f'no. {n}, "quoted"\nand = two lines' for n, name in enumerate(NAMES)}
# Those of the libraries.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def run_dir(cli: Cli) -> Path:
    cli.write("loaded", JOBS)
    assert cli("run", "loaded.yaml").code == 0
    return cli.cwd / "outputs" / "loaded" / "default"


def pixels(run_dir: Path) -> dict[str, bytes]:
    """The pixels of each output, by the name of its job as it was given."""
    report = json.loads((run_dir / "report.json").read_text())
    prompts = {prompt: name for name, prompt in PROMPTS.items()}
    found = {}
    for job in report["jobs"]:
        with Image.open(run_dir / job["outputs"][0]["path"]) as image:
            found[prompts[job["prompt"]]] = image.convert("RGB").tobytes()
    return found


def loaded(rows: Any) -> dict[str, bytes]:
    prompts = {prompt: name for name, prompt in PROMPTS.items()}
    return {prompts[row["text"]]: row["image"].convert("RGB").tobytes() for row in rows}


def left_by_a_kill(directory: Path) -> None:
    """A temporary file, of which another part was never written."""
    (directory / ".crucible-part-export-1").write_bytes(b"half a picture")


def test_datasets_loads_a_folder_of_images(run_dir: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    api.export(run_dir, to, form="imagefolder")
    left_by_a_kill(to)
    left_by_a_kill(to / "train")
    found = datasets.load_dataset("imagefolder", data_dir=str(to), cache_dir=str(tmp_path / "c"))
    assert list(found) == ["train"]
    assert loaded(found["train"]) == pixels(run_dir)
    assert {"image", "text", "job", "index", "width", "height"} <= set(found["train"].column_names)


def test_datasets_loads_the_archive(run_dir: Path, tmp_path: Path) -> None:
    api.export(run_dir, tmp_path / "to", form="zip")
    files = {"train": str(tmp_path / "to" / "pictures.zip")}
    found = datasets.load_dataset("imagefolder", data_files=files, cache_dir=str(tmp_path / "c"))
    assert loaded(found["train"]) == pixels(run_dir)


def shards(run_dir: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(forms, "MOST_IN_SHARD", 3)
    api.export(run_dir, to, form="webdataset")
    left_by_a_kill(to)
    found = sorted(map(str, to.glob("*.tar")))
    assert len(found) == 3
    return found


def test_webdataset_loads_the_shards(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = shards(run_dir, tmp_path / "to", monkeypatch)
    pipeline = webdataset.WebDataset(urls, shardshuffle=False).decode("pil")
    rows = list(pipeline.to_tuple("png", "txt", "json"))
    assert loaded({"image": image, "text": text} for image, text, _ in rows) == pixels(run_dir)
    assert [about["text"] for _, _, about in rows] == [text for _, text, _ in rows]
    assert {about["params"]["size.width"] for _, _, about in rows} == {64}


def test_datasets_loads_the_shards(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = shards(run_dir, tmp_path / "to", monkeypatch)
    found = datasets.load_dataset(
        "webdataset", data_files={"train": urls}, cache_dir=str(tmp_path / "c")
    )
    rows = [{"image": row["png"], "text": row["txt"]} for row in found["train"]]
    assert loaded(rows) == pixels(run_dir)


def test_pandas_reads_the_table(run_dir: Path, tmp_path: Path) -> None:
    import pandas

    api.export(run_dir, tmp_path / "to", form="csv")
    table = pandas.read_csv(tmp_path / "to" / "pictures.csv")
    assert sorted(table["text"]) == sorted(PROMPTS.values())
    for name in table["file"]:
        content = (tmp_path / "to" / name).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            assert image.width == 64
