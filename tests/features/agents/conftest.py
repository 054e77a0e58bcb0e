"""A client of the server for agents, and the guide for them."""

import pytest

from crucible_batch.cli.app import app
from crucible_batch.features.agents.skill import skill_text
from tests.features.agents.client import connect

__all__ = ["connect"]


@pytest.fixture(scope="module")
def guide() -> str:
    import typer.main

    return skill_text(typer.main.get_command(app))
