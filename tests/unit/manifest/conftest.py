"""A folder that manifests are written into, loaded from and expanded in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Problem
from crucible_batch.manifest import JobSpec, Manifest, expand, load_manifest
from crucible_batch.manifest.template_sandbox import Sandbox
from tests.harness.case_table import directory_of_case

HEAD = "version: 1\nname: test\nworkflow: z\n"


@dataclass(frozen=True)
class Folder:
    path: Path

    def for_case(self, number: int) -> Folder:
        """Return a folder of its own for a case of a table."""
        return Folder(directory_of_case(self.path, number))

    def write(self, name: str, content: str | bytes = "x") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, text: str | bytes, **options: Any) -> Manifest:
        """Load a manifest; a text without a version gets HEAD, which is three lines, before it."""
        if isinstance(text, str) and "version:" not in text:
            text = HEAD + text
        return load_manifest(self.write("manifest.yaml", text), **options)

    def items(self, text: str | bytes, **options: Any) -> list[JobSpec | Problem]:
        return list(expand(self.load(text, **options)))

    def jobs(self, text: str | bytes, **options: Any) -> list[JobSpec]:
        items = self.items(text, **options)
        assert [str(item) for item in items if isinstance(item, Problem)] == []
        return [item for item in items if isinstance(item, JobSpec)]

    def job(self, text: str | bytes, **options: Any) -> JobSpec:
        (job,) = self.jobs(text, **options)
        return job

    def problems(self, text: str | bytes, **options: Any) -> list[Problem]:
        """All problems, whether the loader raised them or the expansion yielded them."""
        try:
            return [item for item in self.items(text, **options) if isinstance(item, Problem)]
        except ManifestError as error:
            return list(error.problems)

    def problem(self, text: str | bytes, **options: Any) -> Problem:
        found = self.problems(text, **options)
        assert len(found) == 1, [str(problem) for problem in found]
        return found[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Jinja was asked to compile, in order."""
    sources: list[object] = []
    compile_one = Sandbox.from_string

    def counting(sandbox: Sandbox, source: Any, *arguments: Any, **options: Any) -> Any:
        sources.append(source)
        return compile_one(sandbox, source, *arguments, **options)

    monkeypatch.setattr(Sandbox, "from_string", counting)
    return sources
