"""The bench of runs in this process, in a loop whose time does not skip: programs that it starts need real time."""

from tests.harness.bench import collected_between_tests, start

__all__ = ["collected_between_tests", "start"]
