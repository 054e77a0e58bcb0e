"""The loaders of others, without a network."""

import os
import shutil
import tempfile

from tests.harness.commands import cli, gateway, one_command_tree

__all__ = ["cli", "gateway", "one_command_tree"]

# They read it when they are imported, and write there.
HOME = os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="loaders-")
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_unconfigure() -> None:
    """Remove what they have written."""
    shutil.rmtree(HOME, ignore_errors=True)
