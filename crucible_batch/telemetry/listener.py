"""An HTTP endpoint for metrics during a run, such as ``http://127.0.0.1:9464/metrics``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import start_http_server

from crucible_batch.errors import UserError
from crucible_batch.option_values import ADDRESS_FORMS, ListenAddress, parse_address
from crucible_batch.telemetry.figures import RunFigures
from crucible_batch.telemetry.metrics import registry_of


def read_address(text: str) -> ListenAddress:
    """Return the host and port of an address. Raises ``UserError`` if it is not valid, or has no port of its own."""
    try:
        address = parse_address(text)
    except ValueError:
        address = None
    if address is None or not address.port:
        raise UserError(
            f"the address for metrics, {text[:200]!r}, is not valid",
            hint=f"write a port, or an address and a port: {ADDRESS_FORMS}",
        )
    return address


@contextlib.contextmanager
def serving(address: str, manifest: str, figures: RunFigures) -> Iterator[None]:
    """Serve the metrics of a run during the block. Raises ``UserError`` if the address is invalid or in use."""
    host, port = read_address(address)
    try:
        server, thread = start_http_server(port, host, registry_of(manifest, figures))
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"metrics can't be served at {address}: {getattr(error, 'strerror', None) or error}",
            hint="choose another address: --metrics-listen ADDRESS; nothing was spent",
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
