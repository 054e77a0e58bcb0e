"""The gateway room: HTTP to the Crucible gateway and its storage. All retries of transport live here, and no others.

HttpGateway (adapter)          the engine's port, in the domain's words
  CrucibleClient (client)      the contract's ten operations; usable on its own
    Retrier (retrying)         the same request again, by the table in ``policy``
    ApiExchange (exchange)     one request, one whole answer, one deadline
      KeyChannel (channel)     the key, to one origin only
  StorageClient (storage)      bytes at signed URLs, without the key
    LinkGuard (guard)          where those may lead, down to the address that is connected to

Both send over a Channel: AiohttpChannel, or HttpxChannel where the caller brings an httpx transport, which KeyTransport
(transport) then adds the key to.
"""

from crucible_batch.gateway.adapter import HttpGateway, open_gateway
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.client import CrucibleClient, GeneratedJob
from crucible_batch.gateway.retries import OnRetry, Operation, Retrier, RetryNotice, RetryPolicy
from crucible_batch.gateway.storage import StorageClient
from crucible_batch.gateway.url_guard import PRODUCTION, check_storage_url

__all__ = [
    "PRODUCTION",
    "ApiKey",
    "CrucibleClient",
    "GeneratedJob",
    "HttpGateway",
    "OnRetry",
    "Operation",
    "Retrier",
    "RetryNotice",
    "RetryPolicy",
    "StorageClient",
    "check_storage_url",
    "open_gateway",
]
