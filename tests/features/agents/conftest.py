"""A client of the server for agents."""

from tests.features.agents.client import connect

__all__ = ["connect"]
