"""HTTP access to the Crucible gateway and its storage, including retries of requests.

HttpGateway (adapter)          the engine's port, in the domain's types
  CrucibleClient (client)      the contract's ten operations; usable on its own
    Retrier (retries)          repeats a request, by the table in ``decide_retry``
    ApiExchange (exchange)     one request and its complete response, within one deadline
      KeyChannel (transport)   adds the API key, for one origin only
  StorageClient (storage)      reads and writes bytes at signed URLs, without the key
    LinkGuard (url_guard)      which URLs and addresses are allowed

Both send over a Channel: AiohttpChannel (aiohttp_transport), or HttpxChannel (transport) if the
caller passes an httpx transport; KeyTransport then adds the key.
"""

from crucible_batch.gateway.adapter import HttpGateway, open_gateway
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.client import CrucibleClient, GeneratedJob
from crucible_batch.gateway.retries import OnRetry, Operation, Retrier, RetryNotice, RetryPolicy
from crucible_batch.gateway.storage import StorageClient
from crucible_batch.gateway.url_guard import PRODUCTION, check_storage_url
