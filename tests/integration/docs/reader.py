"""A reader who types what a page says: a folder as a clone has it, a gateway, and a shell that
remembers ``$?``.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.sandbox import Running
from tests.integration.docs.page import ROOT

# Progress that tells of a job that ends in the time that Ctrl-C leaves. A job counts as done two
# seconds after its outputs were saved, by when a small run may have begun its last.
_SOMETHING_DONE = re.compile(rb"\S+  (?:[1-9]\d*/\d+ |.*[1-9]\d* downloading)")
_PATIENCE_S = 120
_CHANGE_OF_FOLDER = re.compile(r"cd +(\S+)(?: +#.*)?")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Reader:
    """Runs commands one after the other in ``folder``, which a line of ``cd`` changes."""

    folder: Path
    gateway: Running
    code: int = 0
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Give the reader an environment of a reader's: the command by its name, no colors, no
        proxy.
        """
        shutil.copytree(ROOT / "manifests", self.folder / "manifests")
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        for name in ("NO_COLOR", "FORCE_COLOR"):
            kept.pop(name, None)
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MOLTAZINE_API_KEY": self.gateway.api_key,
            "CRUCIBLE_API_BASE": self.gateway.api_url,
            "COLUMNS": "120",
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    async def types(self, command: str, *, interrupt: bool = False) -> Done:
        """Run a line in a shell, and stay in the folder that it enters.

        With ``interrupt``, press Ctrl-C once a job is done.
        """
        done = await self._run("bash", "-c", f"(exit {self.code}); {command}", interrupt=interrupt)
        changed = _CHANGE_OF_FOLDER.fullmatch(command)
        if changed is not None and done.code == 0:
            self.folder = (self.folder / changed[1]).resolve()
        return done

    async def python(self, program: str) -> Done:
        return await self._run(sys.executable, "-c", program)

    async def _run(self, *words: str, interrupt: bool = False) -> Done:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=self.folder,
            env=self.environment,
            stdin=-3,
            stdout=-1,
            stderr=-1,
            start_new_session=True,
        )
        assert process.stderr is not None
        seen = b""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while interrupt and (line := await process.stderr.readline()):
                    seen += line
                    if _SOMETHING_DONE.match(line):
                        os.killpg(
                            process.pid, signal.SIGINT
                        )  # as a terminal does: the shell and the command
                        break
                out, err = await process.communicate()
        except TimeoutError:
            return Done(-1, "", f"still going on after {_PATIENCE_S} s")
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        self.code = process.returncode or 0
        # A clone's reader stands in it, and sees its files by their short names.
        return Done(
            self.code, *(text.decode().replace(f"{ROOT}/", "") for text in (out, seen + err))
        )
