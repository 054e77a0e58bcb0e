"""The bench of the engine's tests, in a loop whose time does not skip: programs that it starts need real time."""

from tests.integration.engine.conftest import start

__all__ = ["start"]
