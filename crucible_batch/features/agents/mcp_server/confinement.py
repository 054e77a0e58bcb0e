"""The directory that the tools of the server are confined to."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crucible_batch.core.redaction import clean
from crucible_batch.errors import UserError
from crucible_batch.runs.draft import read_source, run_directory, run_terms
from crucible_batch.runs.request import RunRequest, check_path, follow_plan

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


class Root:
    """A directory, with links resolved.

    It is the working directory of the process, so results have relative paths.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(os.path.realpath(directory))

    def inside(self, what: str, given: str) -> Path:
        """Return a path that a client gave as one relative to the root, links resolved.

        ``what`` names it in messages, such as "the run directory". Raises ``UserError`` if it is
        not inside, is a URL, or can't be used as a path.
        """
        check_path(what, Path(given))
        resolved = Path(os.path.realpath(self.directory / given))
        # A path such as ./s3:/bucket is one in the root, and is read as a URL once it is relative.
        if any(_URL.match(text) for text in (given, os.path.relpath(resolved, self.directory))):
            raise UserError(
                f"{what} {clean(given, 200)!r} is a URL",
                hint="only local directories can be used through this server",
            )
        if not resolved.is_relative_to(self.directory):
            raise UserError(
                f"{what} {clean(given, 200)!r} is outside of this server's root directory;"
                " nothing was read or spent",
                hint=(
                    "give a path below the root, without links that lead out of it;"
                    " --root sets it at the start"
                ),
            )
        return resolved.relative_to(self.directory)

    def manifest(self, given: str) -> Path:
        """Return the path of a manifest. Raises ``UserError`` if it is not inside, or a saved plan.

        A saved plan names its manifest and run directory itself, and whether files outside are
        allowed.
        """
        path = self.inside("the manifest", given)
        if follow_plan(RunRequest(path)).plan is not None:
            raise UserError(
                f"{path} is a saved plan",
                hint="give its manifest; saved plans are run by the command run",
            )
        return path

    def check_run_directory(self, request: RunRequest) -> None:
        """Raise ``UserError`` if the run directory of a request is not inside the root.

        Raises ``ManifestError`` for its manifest.

        The default one depends on names in the manifest, and any folder above it may be a link.
        """
        directory = run_directory(request.out_dir, run_terms(read_source(request), request))
        self.inside("the run directory", str(directory))
