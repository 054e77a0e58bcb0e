"""The ``init`` and ``sandbox`` commands: write a starter folder, and serve a local gateway."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from crucible_batch.api import clean, manifest_schema
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.options import SandboxOptions
from crucible_batch.cli.terminal import fact, open_console, say
from crucible_batch.errors import UserError
from crucible_batch.sandbox import DEFAULT_KEY, SandboxConfig, parse_faults, parse_pricing, run_forever
from crucible_batch.shell_command import shell_command

_STARTER = {
    # packaged as / written as: packaging tools may leave out files that begin with a dot
    "manifest.yaml": "manifest.yaml",
    "products.csv": "products.csv",
    "teapot.png": "photos/teapot.png",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
}
_SCHEMA = "manifest.schema.json"


def write_starter(answer: CommandOutput, directory: Path) -> None:
    """Write the starter folder. Raises ``UserError`` before writing anything if one of its files exists."""
    contents = {target: _packaged(packaged) for packaged, target in _STARTER.items()} | schema_file()
    write_files(directory, contents)
    _tell(answer, directory, list(contents))


def _packaged(name: str) -> bytes:
    return (files("crucible_batch.cli") / "templates" / name).read_bytes()


def schema_file() -> dict[str, bytes]:
    """Return the name and the content of the file for editors."""
    return {_SCHEMA: (json.dumps(manifest_schema(), indent=2) + "\n").encode()}


def optional_files(directory: Path) -> dict[str, bytes]:
    """Return the names and contents of the files that are useful, and needn't be written if they exist."""
    names = {_STARTER[packaged]: packaged for packaged in ("env.example", "gitignore")}
    return {name: _packaged(packaged) for name, packaged in names.items() if not (directory / name).exists()}


def write_files(directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder, and return their paths. Raises ``UserError`` before writing if one of them exists."""
    for target in contents:
        if (directory / target).exists() or (directory / target).is_symlink():
            raise UserError(
                f"{directory / target} already exists", hint="choose another folder: crucible-batch init DIR"
            )
        if (folder := (directory / target).parent) != directory and folder.is_symlink():
            raise UserError(f"{folder} is a link", hint="choose another folder: crucible-batch init DIR")
    try:
        for target, content in contents.items():
            path = directory / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
        return [directory / target for target in contents]
    except OSError as error:
        raise UserError(f"{error.filename or directory}: {error.strerror}", hint="choose another folder") from error
    except RecursionError:  # pathlib creates parent folders recursively
        raise UserError("the folder has too many folders above it", hint="choose another folder") from None


def _tell(answer: CommandOutput, directory: Path, written: list[str]) -> None:
    where = clean(str(directory), 4000)
    say(answer.out, ("✓ ", "good"), "starter folder created: ", (where if where != "." else "here", "strong"))
    say(answer.out, ("  " + "  ".join(sorted(written)), "quiet"))
    fact(answer.out, "next", (shell_command("plan", Path(where, "manifest.yaml")), "command"))
    fact(answer.out, "editor", (shell_command("schema", "--live", "-o", Path(where, _SCHEMA)), "command"))
    fact(answer.out, "", "adds your workflows to the schema")
    fact(answer.out, "no key?", ("crucible-batch sandbox", "command"))
    fact(answer.out, "", "in another terminal: a local gateway")


def _config(chosen: SandboxOptions) -> SandboxConfig:
    """Return the sandbox's configuration. Raises ``UserError`` for invalid options."""
    try:
        return SandboxConfig(
            api_port=chosen.port,
            storage_port=chosen.storage_port,
            state=chosen.state,
            seed=chosen.seed,
            accounts={DEFAULT_KEY: chosen.credits},
            upload_price=chosen.upload_price,
            runners=chosen.runners,
            time_scale=chosen.time_scale,
            faults=parse_faults(chosen.faults),
            pricing=parse_pricing(chosen.pricing),
        )
    except ValueError as error:
        raise UserError(str(error), hint="crucible-batch sandbox --help") from error


def serve_sandbox(answer: CommandOutput, chosen: SandboxOptions) -> None:
    """Serve until Ctrl-C. The two shell lines are flushed to stdout immediately for scripts that read them."""
    config = _config(chosen)

    def ready(api_url: str, storage_url: str, key: str) -> None:
        console = open_console()
        say(console, f"export MOLTAZINE_API_KEY={shlex.quote(key)}")
        say(console, f"export CRUCIBLE_API_BASE={shlex.quote(api_url)}")
        console.file.flush()
        say(
            answer.err, ("✓ ", "good"), ("a local gateway is running", "strong"), (f"   storage {storage_url}", "quiet")
        )
        say(answer.err, "  Paste the two lines above into another terminal, then run any manifest. Ctrl-C stops it.")

    try:
        run_forever(config, ready)
    except OSError as error:
        raise UserError(
            f"the sandbox can't start: {error.strerror or error}", hint="choose another --port or --state file"
        ) from error
    say(answer.err, "stopped")
