"""What all tests share: how hard hypothesis tries, Ctrl-C, where temporary files are, and in which
order tests run.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from crucible_batch.runs import account

pytest.register_assert_rewrite(
    "tests.harness"
)  # before any of it is imported: its asserts show what they compare

from tests.harness import forked_commands  # noqa: E402
from tests.harness.case_table import EachCase  # noqa: E402
from tests.harness.order import dealt  # noqa: E402

# No deadline: these machines are shared, and a slow example says nothing. `soak` is for a long look
# by hand.
settings.register_profile(
    "ci", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("repeatable", settings.get_profile("ci"), derandomize=True)
settings.register_profile(
    "soak", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# No test reads or writes what the user's own runs remember: below a device no directory can be
# made.
os.environ["XDG_STATE_HOME"] = "/dev/null/none"

# Programs that tests start write as they do for users, who don't set this: the order of what they
# print depends on it.
os.environ.pop("PYTHONUNBUFFERED", None)

# httpcore imports this package at each connection. Where it isn't installed, it is searched for
# each time.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

# A shell without job control starts what it leaves in the background with SIGINT ignored, and so
# would be every command that a test starts and then presses Ctrl-C on.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is imported and collected stays until the end.
gc.disable()


def _use_memory(directory: Path, free_bytes: int) -> None:
    """Have tmp_path in memory where there is room, since tests otherwise wait for the disk at each
    sync of a journal.

    A killed process loses nothing that it has written, in memory as on a disk.
    """
    if "TMPDIR" in os.environ or not os.access(directory, os.W_OK):
        return
    found = os.statvfs(directory)
    if found.f_bavail * found.f_frsize > free_bytes and not found.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(directory))


_use_memory(Path("/dev/shm"), free_bytes=4 << 30)  # one complete run leaves 0.6 GB


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let each case of a table be a test, which ``-k`` selects and ``--collect-only`` lists."""
    parser.addoption(
        "--cases", action="store_true", help="run each case of a table as a test of its own"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker of pytest-xdist the directory in which it finds the server that forks
    commands for all."""
    node.workerinput["forks"] = _directory_of_forks(node.config)


def pytest_configure(config: pytest.Config) -> None:
    """Let the workers share one server that forks commands, and end soon; before any table of cases
    is imported."""
    EachCase.is_a_test = config.getoption("--cases")
    if (worker := getattr(config, "workerinput", None)) is not None:
        forked_commands.shared_directory = Path(worker["forks"])
        atexit.register(_exit_worker, os.getpid())


def _exit_worker(worker: int) -> None:
    """Exit without destroying all that was imported and collected, which takes a second or two
    after the last test."""
    if os.getpid() == worker:  # not a fork of it
        os._exit(0)


@functools.cache
def _directory_of_forks(config: pytest.Config) -> str:
    directory = tempfile.TemporaryDirectory(prefix="forks-")
    config.add_cleanup(directory.cleanup)
    return directory.name


@pytest.fixture(scope="session", autouse=True)
def _frozen_heap() -> None:
    """Keep what the imports made out of all collections, and collect less often than a program that
    has less memory."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _cheap_fingerprints() -> Iterator[None]:
    """Derive the key's fingerprint in one round: 200,000 are a fifth of the time of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account, "_ROUNDS", 1)
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests for the workers of pytest-xdist, after those that aren't wanted have been
    removed."""
    if (worker := getattr(config, "workerinput", None)) is not None:
        items[:] = dealt(items, worker["workercount"])
