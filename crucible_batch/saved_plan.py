"""Saved plans (``plan.json``).

They are written and read row by row, and verified completely against their digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from crucible_batch.atomic_files import check_target, replacing
from crucible_batch.core.run_options import ManifestOptions, PlanningOptions, declared, option_flag
from crucible_batch.core.saved_plan import PlanHead, PlanRow, ShardRow
from crucible_batch.errors import SavedPlanError, UserError
from crucible_batch.shell_command import DEFAULT_DIRECTORY, DEFAULT_RUN_ID, shell_command

PLAN_VERSION = 1

CLOSE = b"}"
JOBS = b'  "jobs": ['
END_OF_JOBS = b"  ],"
DIGEST = '  "digest": "{}"'

MAX_LINE_BYTES = 128 * 1024 * 1024
"""The longest line of a plan that is written or read: far above a manifest's default limit, so
that any job fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlanFile(PlanHead):
    """The content of ``plan.json``; ``digest`` is the SHA-256 of all lines above its own."""

    jobs: tuple[PlanRow | ShardRow, ...]
    digest: str


_ADAPTERS: dict[object, TypeAdapter[Any]] = {}  # building one costs milliseconds


def adapter_of(kind: type[Any]) -> TypeAdapter[Any]:
    """Return the adapter that converts a dataclass of the domain to and from JSON.

    Amounts are decimal text in it.
    """
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def plan_schema() -> dict[str, Any]:
    schema = adapter_of(SavedPlanFile).json_schema(mode="serialization")
    schema["properties"]["schema_version"] = {"const": PLAN_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "crucible-batch plan.json, version 1",
    }


def plan_command(head: PlanHead, plan: Path, *, manifest: Path, run_dir: str | Path) -> str:
    """Return the shell command that makes this plan.

    Paths are relative to the working directory.
    """
    return shell_command("plan", manifest, *_options(head, run_dir), "-o", plan)


_FIRST = ("budget", "run_id", "out_dir", "only", "variables")
"""The options that come first in a command; all others follow as they are declared."""


def _options(head: PlanHead, run_dir: str | Path) -> Iterator[str]:
    options = head.options
    usual = {
        "run_id": DEFAULT_RUN_ID,
        "out_dir": DEFAULT_DIRECTORY / head.manifest.name / options.run_id,
    }
    found = declared(PlanningOptions, ManifestOptions)
    for name in dict.fromkeys((*_FIRST, *found)):
        option, default = found[name]
        value = run_dir if name == "out_dir" else getattr(options, name)
        if value != usual.get(name, default):
            yield from option.words(value)
    for name, number in options.of_features.items():
        yield from (option_flag(name), str(number))
    if head.shards:
        yield from ("--shards", str(len(head.shards)))


@dataclass(frozen=True, slots=True)
class _Numbered:
    """The part of a row that has the number of its shard."""

    shard: int | None = None


T = TypeVar("T", PlanHead, PlanRow, ShardRow, _Numbered)

MAX_HEAD_BYTES = MAX_LINE_BYTES
_BEGINNING = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"schema_version"')
_FIRST_LINES = re.compile(
    rb'\{\r?\n  "schema_version": \d{1,9},\r?\n  "manifest": \{\r?\n    "name": "'
)
"""The first lines of a plan. A report begins the same way, but has its run id next."""
_VERSION_LINE = re.compile(rb'\A\{\n  "schema_version": (\d{1,9}),')
_IN_A_SHARD = b'"shard":'
_DIGEST_LINE = re.compile(rb'  "digest": "([0-9a-f]{64})"')


def is_saved_plan(path: Path) -> bool:
    """Whether a file is a plan and not a manifest, by its first bytes.

    Manifests don't have a ``schema_version``.
    """
    return path.is_file() and _begins_with(_BEGINNING, path)


def looks_like_a_plan(path: Path) -> bool:
    """Whether a file was written as a saved plan, complete or truncated, by its first lines."""
    return _begins_with(_FIRST_LINES, path)


def _begins_with(pattern: re.Pattern[bytes], path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return pattern.match(file.read(200)) is not None
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A saved plan whose digest was verified when it was opened.

    ``main`` is the run directory that it was brought from; None: its head has the path, relative to
    its file.
    """

    path: Path
    head: PlanHead
    digest: str
    main: Path | None = None

    def rows(self) -> Iterator[PlanRow]:
        """Yield its jobs, in manifest order.

        Raises ``SavedPlanError`` if a row is invalid, there are too many, or the file was changed
        since it was opened.
        """
        for line in self._job_lines():
            yield _decoded(PlanRow, line, self.path)

    def shard_rows(self, number: int) -> Iterator[ShardRow]:
        """Yield the jobs of one shard, in manifest order. Raises as ``rows`` does."""
        for line in self._job_lines():
            if _IN_A_SHARD in line and _decoded(_Numbered, line, self.path).shard == number:
                yield _decoded(ShardRow, line, self.path)

    def _job_lines(self) -> Iterator[bytes]:
        lines = _Lines(self.path)
        jobs = iter(lines)
        for _ in takewhile(lambda line: line != JOBS, jobs):
            pass
        most = self.head.options.max_jobs
        for number, line in enumerate(takewhile(lambda line: line != END_OF_JOBS, jobs), 1):
            if number > most:
                raise _broken(self.path, f"it has more jobs than its own limit of {most}")
            yield line.strip().removesuffix(b",")
        if any(jobs) or lines.digest != self.digest:
            raise _broken(self.path, "it was changed while it was read")


def read_saved_plan(path: Path) -> SavedPlan:
    """Open a plan and verify all of it.

    Raises ``SavedPlanError`` if it isn't a plan or was edited.
    """
    lines = _Lines(path)
    head: list[bytes] = []
    size = 0
    rest = iter(lines)
    for line in takewhile(lambda line: line != JOBS, rest):
        size += len(line)
        if size > MAX_HEAD_BYTES:
            raise _broken(path, "the part before its jobs is too large")
        head.append(line)
    for _ in rest:
        pass
    text = b"\n".join(head).removesuffix(b",") + b"\n}"
    version = _VERSION_LINE.search(text)
    if version is not None and int(version[1]) != PLAN_VERSION:
        raise SavedPlanError(
            f"{path} is a plan of version {int(version[1])}; "
            f"this release reads version {PLAN_VERSION}",
            hint="use the release of crucible-batch that wrote it, or create the plan again",
        )
    return SavedPlan(path, _decoded(PlanHead, text, path), lines.digest)


class _Lines:
    """The lines above the digest, without line ends.

    The digest is verified after the last of them was read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = ""

    def __iter__(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                for line in _bounded(file, self.path):
                    found = _DIGEST_LINE.fullmatch(line)
                    if found is not None:
                        stated = found[1].decode()
                        self.digest = _checked(stated, digest.hexdigest(), file, self.path)
                        return
                    digest.update(line + b"\n")
                    yield line
        except OSError as error:
            raise _broken(self.path, f"it can't be read: {error.strerror}") from error
        raise _broken(
            self.path,
            "it doesn't end with a digest, so it is truncated, or its formatting was changed",
        )


def _bounded(file: BinaryIO, path: Path) -> Iterator[bytes]:
    for line in iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""):
        if len(line) > MAX_LINE_BYTES:
            raise _broken(path, f"it has a line of more than {MAX_LINE_BYTES:,} bytes")
        yield line.rstrip(b"\r\n")


def _checked(stated: str, counted: str, file: BinaryIO, path: Path) -> str:
    if stated != counted:
        raise _broken(path, "its digest doesn't match, so it was edited")
    if file.readline(8).rstrip(b"\r\n") != CLOSE or file.readline(8):
        raise _broken(path, "there is text after its digest")
    return stated


def _decoded(kind: type[T], text: bytes, path: Path) -> T:
    try:
        value: T = adapter_of(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        why = first["msg"]
        if where:
            why = f"{where}: {why}"
        raise _broken(path, why) from error
    return value


def _broken(path: Path, why: str) -> SavedPlanError:
    return SavedPlanError(
        f"{path} is not a valid saved plan: {why}",
        hint=(
            "create it again with crucible-batch plan MANIFEST -o PLAN; saved plans can't be edited"
        ),
    )


def check_plan_target(target: Path, *, force: bool) -> None:
    """Raise ``UserError`` if the target is a link, or exists and isn't a saved plan.

    ``force`` allows other regular files.
    """
    check_target(target, "a saved plan", looks_like_a_plan, force=force)


def write_saved_plan(
    target: Path,
    head: PlanHead,
    rows: Iterable[PlanRow],
    *,
    force: bool = False,
    before: Callable[[str], None] = lambda _digest: None,
) -> str:
    """Write a plan, replacing an older one, and return its digest.

    The same plan results in the same file. ``before`` is called with the digest before the file
    gets its name; if it raises, an older file is unchanged. Raises ``UserError`` if
    ``check_plan_target`` does, or if it can't be written; an older file is then unchanged.
    """
    check_plan_target(target, force=force)
    digest = hashlib.sha256()
    try:
        with replacing(target) as file:
            for line in _lines(head, rows):
                digest.update(line)
                file.write(line)
            file.write(f"{DIGEST.format(digest.hexdigest())}\n".encode() + CLOSE + b"\n")
            before(digest.hexdigest())
    except OSError as error:
        raise UserError(
            f"the plan can't be written to {target}: {error.strerror}",
            hint="give another file with -o",
        ) from error
    return digest.hexdigest()


def _lines(head: PlanHead, rows: Iterable[PlanRow]) -> Iterator[bytes]:
    yield _json(head, indent=2).removesuffix(b"\n}") + b",\n"
    yield JOBS
    separator = b"\n"
    for row in rows:
        text = _json(row)
        if len(text) > MAX_LINE_BYTES - 8:  # less the indent, comma and line end
            raise UserError(
                f"job {row.name!r} is too large for a saved plan", hint="run the manifest directly"
            )
        yield separator + b"    " + text
        separator = b",\n"
    yield b"\n" + END_OF_JOBS + b"\n"


def _json(value: PlanHead | PlanRow, indent: int | None = None) -> bytes:
    try:
        return adapter_of(type(value)).dump_json(value, indent=indent)
    except ValueError as error:  # a lone surrogate, from a file name that isn't UTF-8
        raise SavedPlanError(
            f"the plan can't be written as JSON: {error}",
            hint="rename the file so that its name is valid UTF-8",
        ) from error
