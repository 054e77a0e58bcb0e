"""The ``crucible-batch`` command: parse, call the API, render. The commands are in ``run``, ``look`` and ``start``."""

# ruff: noqa: PLC0415 - what isn't needed isn't loaded

import os
import sys

from crucible_batch import __version__


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    if sys.argv[1:] == ["--version"] and _show_version():
        return
    # The HTTP library opens the file that this names as soon as it is loaded, for the keys of all connections.
    os.environ.pop("SSLKEYLOGFILE", None)
    from crucible_batch.cli.startup import collect_garbage_rarely, skip_unused_help_imports
    from crucible_batch.cli.streams import mend_streams

    mend_streams()
    collect_garbage_rarely()
    skip_unused_help_imports(sys.argv[1:])
    from crucible_batch.cli.app import main as parse_and_run

    parse_and_run()


def _show_version() -> bool:
    """Answer what scripts ask for before anything else, in a fifth of the time. False where it can't be written."""
    try:
        print(f"crucible-batch {__version__}", flush=True)  # noqa: T201 - that is all there is to say
    except OSError:  # the whole command line says what is wrong with the stream, and with which exit code
        return False
    return True


__all__ = ["main"]
