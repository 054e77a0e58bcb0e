"""``plan --export``: the folder with a divided plan, and the files that run its shards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.exported_files import check_files, check_paths, write_files
from crucible_batch.cli.terminal import fact
from crucible_batch.core.redaction import clean_path
from crucible_batch.errors import UserError
from crucible_batch.features.machines.plan_options import BatchSystem, BatchSystemOptions
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.request import RunRequest, check_path

_PLAN = "plan.json"
_FILES: Mapping[BatchSystem, Sequence[str]] = {
    BatchSystem.SLURM: ("shards.sbatch",),
    BatchSystem.KUBERNETES: ("shards.yaml", "volume.yaml"),
    BatchSystem.AWS_BATCH: ("shards.json",),
}
_NEEDED: Mapping[BatchSystem, Sequence[str]] = {
    BatchSystem.SLURM: (),
    BatchSystem.KUBERNETES: ("image",),
    BatchSystem.AWS_BATCH: ("job_queue", "job_definition"),
}
"""The options that an export needs, and takes."""
_WIDTH = 9


@contextmanager
def plan_file(request: RunRequest, save_to: Path | None, *, force: bool) -> Iterator[Path | None]:
    """Have the file in which the plan is saved: with an export, one in the folder of ``-o``.

    The folder is created, and removed again if it stays empty. Raises ``UserError`` for an export
    that isn't possible.
    """
    options = request.of(BatchSystemOptions)
    _check_options(options)
    if options.export is None:
        yield save_to
        return
    if request.of(DivisionOptions).shards is None:
        raise UserError("--export needs --shards, the number of parts", hint="add --shards 8")
    if save_to is None:
        raise UserError("--export needs a folder for the files", hint="name one: -o DIR")
    _check_folder(save_to, options.export, force=force)
    _check_places(request, save_to, options.export)
    is_new = not save_to.exists()
    try:
        save_to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {save_to} can't be created: {error.strerror}",
            hint="give another one with -o",
        ) from error
    try:
        yield save_to / _PLAN
    finally:
        if is_new:
            with suppress(OSError):  # it has files
                save_to.rmdir()


def _check_options(options: BatchSystemOptions) -> None:
    """Raise ``UserError`` for options that the export needs and that weren't given, or the other
    way round.
    """
    needed: Sequence[str] = ()
    if options.export is not None:
        needed = _NEEDED[options.export]
    for names in _NEEDED.values():
        for name in names:
            flag, value = f"--{name.replace('_', '-')}", getattr(options, name)
            if name in needed and not value:
                raise UserError(
                    f"--export {options.export} needs {flag}", hint=f"add {flag} {_example(name)}"
                )
            if name not in needed and value is not None:
                given = f"--export {options.export}"
                if options.export is None:
                    given = "a plan without --export"
                raise UserError(f"{flag} has no meaning for {given}", hint="omit it")


def _example(name: str) -> str:
    return {"image": "REGISTRY/NAME:TAG"}.get(name, "NAME")


def _check_folder(folder: Path, to: BatchSystem, *, force: bool) -> None:
    """Raise ``UserError`` if the folder is not one, or has other files of these names."""
    from crucible_batch.features.machines.exports import MARKS  # noqa: PLC0415 - for exports only

    check_path("the folder of the export", folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder, and --export writes several files",
            hint="give a folder with -o",
        )
    check_files([folder / name for name in _FILES[to]], MARKS, force=force)


def _check_places(request: RunRequest, folder: Path, to: BatchSystem) -> None:
    """Raise ``UserError`` if the paths can't be written, or are not in the volume of containers."""
    if to is BatchSystem.SLURM:
        check_paths([str(Path.cwd()), str(folder)], "a shell script")
        return
    url = ObjectUrl.parse(request.out_dir or "")
    if url is not None and url.folder is not None:
        raise UserError(
            f"the containers don't have {url.folder}, the directory of --out-dir",
            hint="use a path below the working directory, or an object store: --out-dir"
            " s3://BUCKET/PREFIX",
        )
    if url is not None:
        return
    root = _root()
    used = {"-o": folder, "the manifest": request.manifest, "--out-dir": request.out_dir}
    for name, path in used.items():
        if path is None:
            continue
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links stay
        if not absolute.is_relative_to(root):
            raise UserError(
                f"{name}, {path}, is not below {root}, which the containers have as their volume",
                hint=f"use files below {root}, or an object store: --out-dir s3://BUCKET/PREFIX",
            )
        check_paths([str(absolute.relative_to(root))], "the files of containers")


def _root() -> Path:
    """Return the directory that containers have at ``VOLUME``: that one if it is used here."""
    from crucible_batch.features.machines.exports import VOLUME  # noqa: PLC0415 - for exports only

    here = Path.cwd()
    return Path(VOLUME) if here.is_relative_to(VOLUME) else here


def export(output: CommandOutput, request: RunRequest, saved: Path | None, *, force: bool) -> None:
    """Write the files beside a plan that was saved, and show the commands that use them.

    Does nothing without an export.
    """
    options = request.of(BatchSystemOptions)
    if options.export is None or saved is None:
        return
    from crucible_batch.features.machines.exports import (  # noqa: PLC0415 - for exports only
        MARKS,
        Export,
    )
    from crucible_batch.features.machines.exports import export as exported  # noqa: PLC0415
    from crucible_batch.saved_plan import read_saved_plan  # noqa: PLC0415

    one = Export(options, read_saved_plan(saved), Path.cwd(), _root())
    made = exported(one)
    paths = write_files(made.files, saved.parent, MARKS, force=force)
    assert isinstance(output.data, dict)
    output.data["export"] = {
        "to": str(options.export),
        "files": [str(path) for path in paths],
        "commands": {"once": list(made.once), "submit": made.submit, "merge": one.merge},
    }
    if output.quiet:
        return
    for path in paths:
        fact(output.out, "export", clean_path(path), width=_WIDTH)
    for command in made.once:
        fact(output.out, "once", (command, "command"), width=_WIDTH)
    fact(output.out, "next", (made.submit, "command"), width=_WIDTH)
    merge = f"{one.merge}   # once all shards have ended"
    fact(output.out, "then", (merge, "command"), width=_WIDTH)
