"""A planner at work on a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from crucible_batch.core.gateway_types import Workflow
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.errors import Problem
from crucible_batch.input_images import InputError, read_input
from crucible_batch.manifest import expand, load_manifest
from crucible_batch.planner import Planner

HEAD = "version: 1\nname: test\nworkflow: z\n"


def read_image(path: Path) -> InputImage | str:
    try:
        return read_input(path)
    except InputError as error:
        return str(error)


@dataclass
class Desk:
    """A folder with a manifest, and a planner at work on it."""

    folder: Path
    workflows: dict[str, Workflow] = field(default_factory=dict)
    filled: dict[str, dict[str, str]] = field(default_factory=dict)
    planner: Planner = field(init=False)
    """That of the newest manifest."""

    @classmethod
    def with_photo(cls, folder: Path) -> Desk:
        desk = cls(folder)
        desk.photo("p.png")
        return desk

    def lists(self, *fields: str, workflow: str = "z") -> Desk:
        self.workflows[workflow] = Workflow(workflow, fields)
        return self

    def photo(self, name: str, color: str = "teal") -> Path:
        Image.new("RGB", (8, 6), color).save(self.folder / name, "PNG")
        return self.folder / name

    def items(
        self,
        text: str,
        *,
        run_id: str = "default",
        name: str = "test",
        duplicates: str | None = None,
    ) -> list[PlannedJob | Problem]:
        path = self.folder / "manifest.yaml"
        path.write_text(text if "version:" in text else HEAD + text)
        manifest = load_manifest(path)
        self.planner = Planner(
            manifest_name=name,
            run_id=run_id,
            duplicates=duplicates or manifest.header.duplicates,
            workflows=self.workflows,
            read_image=read_image,
            filled=self.filled,
            filler=manifest.header.filler(manifest.site, manifest.jobs),
        )
        return list(self.planner.plan(expand(manifest)))

    def jobs(self, text: str, **options: Any) -> list[PlannedJob]:
        items = self.items(text, **options)
        assert [str(item) for item in items if isinstance(item, Problem)] == []
        return [item for item in items if isinstance(item, PlannedJob)]

    def job(self, text: str, **options: Any) -> PlannedJob:
        (job,) = self.jobs(text, **options)
        return job

    def problems(self, text: str, **options: Any) -> list[Problem]:
        return [item for item in self.items(text, **options) if isinstance(item, Problem)]

    def problem(self, text: str, **options: Any) -> Problem:
        found = self.problems(text, **options)
        assert len(found) == 1, [str(problem) for problem in found]
        return found[0]
