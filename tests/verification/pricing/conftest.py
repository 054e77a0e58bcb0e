"""A bench for each test: a folder, a gateway with a price, and the command."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.verification.pricing.running import Bench, Wish, bench
from tests.verification.pricing.world import World

Open = Callable[..., Bench]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """`opened(world, wishes, max_credits_per_job="4")`: its gateway serves until the test ends."""
    with ExitStack() as stack:

        def make(world: World, wishes: Iterable[Wish], **ceilings: str) -> Bench:
            made = bench(tmp_path / "bench", world, wishes, **ceilings)
            stack.enter_context(made.gateway)
            return made

        yield make
