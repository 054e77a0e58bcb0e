"""The ``crucible-batch`` command: parses arguments, calls the API, renders. Commands are in
``*_commands`` modules.
"""

# ruff: noqa: PLC0415 - --version loads as little as possible

import os
import sys

from crucible_batch import __version__


def main() -> None:
    """Run the command line and exit the process with its exit code."""
    try:
        _main()
    except KeyboardInterrupt:  # while the program is loaded; a command handles it itself
        sys.exit(130)


def _main() -> None:
    if sys.argv[1:] == ["--version"] and _show_version():
        return
    if sys.platform == "win32":
        print(  # noqa: T201 - nothing else is loaded
            "error: Windows is not supported; install and run crucible-batch in WSL",
            file=sys.stderr,
        )
        sys.exit(2)
    # On import, the HTTP library opens the file that this variable names and writes all connection
    # keys to it.
    os.environ.pop("SSLKEYLOGFILE", None)
    from crucible_batch.cli.startup import (
        collect_garbage_rarely,
        exit_immediately,
        skip_unused_help_imports,
    )
    from crucible_batch.cli.terminal import repair_streams

    repair_streams()
    collect_garbage_rarely()
    skip_unused_help_imports(sys.argv[1:])
    from crucible_batch.cli.app import main as parse_and_run

    had_store = "obstore" in sys.modules  # if so, this is not the process of a command
    try:
        parse_and_run()
    except SystemExit as ended:
        if "obstore" in sys.modules and not had_store and isinstance(ended.code, int):
            exit_immediately(ended.code)
        raise


def _show_version() -> bool:
    """Print the version without loading Typer, in a fifth of the time.

    Return False if stdout can't be written.
    """
    try:
        print(f"crucible-batch {__version__}", flush=True)  # noqa: T201
    except OSError:  # the full command line reports the error, with its exit code
        return False
    return True
