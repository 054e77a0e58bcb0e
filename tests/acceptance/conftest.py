"""What the acceptance tests stand on: a gateway that isn't ours, a folder as a user has it, and the command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # other_gateway is a program of its own, in no package

from other_gateway import OtherGateway


@pytest.fixture
def gateway() -> Iterator[OtherGateway]:
    with OtherGateway() as running:
        yield running
