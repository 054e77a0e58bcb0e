"""A local Crucible gateway over real HTTP.

It serves to try the product without an account, and to test it independently.

    async with serve(SandboxConfig()) as running:
        ...  # running.api_url, running.storage_url, running.api_key

Importing this is cheap: the server and the pictures are loaded by the first `serve` or
`run_forever`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from crucible_batch.sandbox.config import DEFAULT_KEY, Running, SandboxConfig
from crucible_batch.sandbox.faults import FaultRule, parse_faults
from crucible_batch.sandbox.pricing import Pricing, Rise, parse_pricing
from crucible_batch.sandbox.verdict import Finding, Served, Verdict


def serve(
    config: SandboxConfig, *, clock: Callable[[], float] = time.time
) -> AbstractAsyncContextManager[Running]:
    """Serve in the running event loop until the `async with` block is left.

    Raises OSError for a port, or a state file, that is taken.
    """
    from crucible_batch.sandbox import server  # noqa: PLC0415 - importing this package is cheap

    return server.serve(config, clock=clock)


def run_forever(config: SandboxConfig, on_ready: Callable[[str, str, str], None]) -> Verdict:
    """Serve until SIGINT or SIGTERM, from the main thread, and judge what the clients did.

    `on_ready(api_url, storage_url, key)` is called once, when both ports listen. Raises OSError as
    `serve` does.
    """
    from crucible_batch.sandbox import server  # noqa: PLC0415 - importing this package is cheap

    return server.run_forever(config, on_ready)


def run_client(config: SandboxConfig, command: Sequence[str], env: Mapping[str, str]) -> Served:
    """Serve until a client ends, from the main thread, and judge it.

    The address and the key are added to `env`. A SIGTERM is passed on to the client. Ctrl-C is left
    to it: a terminal sends SIGINT to both. Raises OSError also if the client can't be started.
    """
    from crucible_batch.sandbox import server  # noqa: PLC0415 - importing this package is cheap

    return server.run_client(config, command, env)
