"""Runs whose time does not skip: the programs that notifications start need real time."""

from __future__ import annotations

from tests.harness.skipped_time import plain_loops

pytest_asyncio_loop_factories = plain_loops
