"""The ``init`` and ``sandbox`` commands: write a starter folder, and serve a local gateway."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

from crucible_batch.api import clean, manifest_schema
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.terminal import open_console, say
from crucible_batch.errors import UserError
from crucible_batch.sandbox import DEFAULT_KEY, SandboxConfig, parse_faults, parse_pricing, run_forever

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
    templates = files("crucible_batch.cli") / "templates"
    contents = {target: (templates / packaged).read_bytes() for packaged, target in _STARTER.items()}
    contents[_SCHEMA] = (json.dumps(manifest_schema(), indent=2) + "\n").encode()
    for target in contents:
        if (directory / target).exists() or (directory / target).is_symlink():
            raise UserError(
                f"{directory / target} is there already", hint="choose another folder: crucible-batch init DIR"
            )
        if (folder := (directory / target).parent) != directory and folder.is_symlink():
            raise UserError(f"{folder} is a link", hint="choose another folder: crucible-batch init DIR")
    try:
        for target, content in contents.items():
            path = directory / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
    except OSError as error:
        raise UserError(f"{error.filename or directory}: {error.strerror}", hint="choose another folder") from error
    except RecursionError:  # pathlib creates parent folders recursively
        raise UserError("the folder has too many folders above it", hint="choose another folder") from None
    _tell(answer, directory, list(contents))


def _tell(answer: CommandOutput, directory: Path, written: list[str]) -> None:
    where = clean(str(directory), 4000)
    say(answer.out, ("✓ ", "good"), "a folder to start from: ", (where if where != "." else "here", "strong"))
    say(answer.out, ("  " + "  ".join(sorted(written)), "quiet"))
    enter = "" if directory == Path() else f"cd {shlex.quote(where)} && "
    say(answer.out, ("  next     ", "label"), (f"{enter}crucible-batch plan manifest.yaml", "command"))
    live = f"{enter}crucible-batch schema --live -o {_SCHEMA}"
    say(answer.out, ("  editor   ", "label"), (live, "command"), "  so that it knows your workflows")
    say(answer.out, ("  no key?  ", "label"), ("crucible-batch sandbox", "command"), " in another terminal")


@dataclass(frozen=True, slots=True)
class SandboxArguments:
    """The options of ``sandbox``."""

    port: int
    storage_port: int
    state: Path | None
    credits: Decimal
    upload_price: Decimal
    runners: int
    time_scale: float
    seed: int
    faults: str
    pricing: str

    def config(self) -> SandboxConfig:
        """Return the sandbox's configuration. Raises ``UserError`` for invalid options."""
        try:
            return SandboxConfig(
                api_port=self.port,
                storage_port=self.storage_port,
                state=self.state,
                seed=self.seed,
                accounts={DEFAULT_KEY: self.credits},
                upload_price=self.upload_price,
                runners=self.runners,
                time_scale=self.time_scale,
                faults=parse_faults(self.faults),
                pricing=parse_pricing(self.pricing),
            )
        except ValueError as error:
            raise UserError(str(error), hint="crucible-batch sandbox --help") from error


def serve_sandbox(answer: CommandOutput, wish: SandboxArguments) -> None:
    """Serve until Ctrl-C. The two shell lines are flushed to stdout at once for scripts that read them."""
    config = wish.config()

    def ready(api_url: str, storage_url: str, key: str) -> None:
        console = open_console()
        say(console, f"export MOLTAZINE_API_KEY={shlex.quote(key)}")
        say(console, f"export CRUCIBLE_API_BASE={shlex.quote(api_url)}")
        console.file.flush()
        say(
            answer.err, ("✓ ", "good"), ("a local gateway is running", "strong"), (f"   storage {storage_url}", "quiet")
        )
        say(answer.err, "  Paste the two lines above into another terminal, then run any manifest. Ctrl-C ends it.")

    try:
        run_forever(config, ready)
    except OSError as error:
        raise UserError(
            f"the sandbox can't start: {error.strerror or error}", hint="another --port, or another --state file"
        ) from error
    say(answer.err, "stopped")
