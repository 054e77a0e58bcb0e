"""Storage: bytes at signed URLs; no key, few redirects, whole bodies or an error."""

from __future__ import annotations

import gzip

import httpx
import pytest

from crucible_batch.errors import GatewayError, KeyRefusedError

URL = "https://s.test/bucket/x.png?token=SIGNATURE"


async def read(here, url: str = URL) -> bytes:
    async with here.gateway.download(url) as (_, chunks):
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_2xx_takes_an_upload(world, reply, status):
    await world(reply(status)).storage.put(URL, b"x", "image/png")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
async def test_a_refused_put_is_told_at_once(world, reply, status):
    here = world(reply(status))
    with pytest.raises(GatewayError) as caught:
        await here.storage.put(URL, b"abc", "image/png")
    assert (caught.value.status, caught.value.code) == (status, f"HTTP_{status}")
    assert not isinstance(caught.value, KeyRefusedError)
    assert len(here.requests) == 1


async def test_an_empty_upload_is_not_sent(world, reply):
    here = world(reply(200))
    with pytest.raises(GatewayError) as caught:
        await here.storage.put(URL, b"", "image/png")
    assert (caught.value.code, here.requests) == ("BAD_REQUEST", [])


async def test_storage_gets_no_key_no_cookie_and_asks_for_identity(world, reply):
    here = world(reply(200, raw=b"x", set_cookie="a=b; Path=/"))
    await read(here)
    await here.storage.put(URL, b"abc", "image/png")
    for request in here.requests:
        assert "authorization" not in request.headers
        assert "cookie" not in request.headers
        assert "moltazine" not in str(request.headers.raw)
        assert request.headers["accept-encoding"] == "identity"


async def test_storage_on_the_apis_own_origin_gets_no_key_either(world, reply):
    here = world(reply(200, raw=b"x"))
    await read(here, "https://crucible.test/storage/x?sig=1")
    assert "authorization" not in here.requests[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_three_redirects_are_followed(world, reply, status):
    hops = [reply(status, location=f"https://s{n}.test/x?sig={n}") for n in (1, 2)]
    here = world(*hops, reply(status, location="/y?sig=3"), reply(200, raw=b"abc"))
    assert await read(here) == b"abc"
    assert [str(request.url) for request in here.requests][1:] == [
        "https://s1.test/x?sig=1",
        "https://s2.test/x?sig=2",
        "https://s2.test/y?sig=3",
    ]
    assert all("authorization" not in request.headers for request in here.requests)


async def test_a_fourth_redirect_is_an_error(world, reply):
    here = world(reply(302, location=URL))
    with pytest.raises(GatewayError) as caught:
        await read(here)
    assert caught.value.code == "HTTP_302"
    assert len(here.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://s.test/x",
        "http://127.0.0.1/x",
        "https://u:p@s.test/",
        "file:///etc/passwd",
        "//u@s.test/",
        "ftp://s.test/",
    ],
)
async def test_each_hop_is_checked(world, reply, location):
    here = world(reply(302, location=location))
    with pytest.raises(GatewayError) as caught:
        await read(here)
    assert caught.value.code == "UNSAFE_URL"
    assert len(here.requests) == 1


async def test_a_location_that_cant_be_read_is_an_error(world, reply):
    with pytest.raises(GatewayError):
        await read(world(reply(302, location="https://[::1")))


async def test_a_redirected_put_stays_a_put(world, reply):
    here = world(reply(307, location="https://s2.test/x?sig=2"), reply(200))
    await here.storage.put(URL, b"abc", "image/png")
    assert [(request.method, request.content) for request in here.requests] == [("PUT", b"abc")] * 2


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_put_is_not_turned_into_a_get(world, reply, status):
    here = world(reply(status, location="https://s2.test/x"))
    with pytest.raises(GatewayError) as caught:
        await here.storage.put(URL, b"abc", "image/png")
    assert caught.value.code == f"HTTP_{status}"
    assert len(here.requests) == 1


async def test_the_first_url_is_checked_before_anything_is_sent(world, reply):
    here = world(reply(200))
    for bad in ("http://s.test/x", "https://u@s.test/x", "file:///etc/passwd"):
        with pytest.raises(GatewayError, match="UNSAFE_URL"):
            await read(here, bad)
        with pytest.raises(GatewayError, match="UNSAFE_URL"):
            await here.storage.put(bad, b"abc", "image/png")
    assert here.requests == []


async def test_a_download_tells_its_length_and_yields_its_bytes(world, reply):
    body = bytes(range(256)) * 4096
    here = world(reply(200, raw=body))
    async with here.gateway.download(URL) as (length, chunks):
        assert length == len(body)
        assert b"".join([chunk async for chunk in chunks]) == body


async def test_a_download_without_a_length_reports_it(world):
    async def body():
        yield b"abc"

    async with world(lambda _: httpx.Response(200, content=body())).gateway.download(URL) as (
        length,
        chunks,
    ):
        assert length is None
        assert [chunk async for chunk in chunks] == [b"abc"]


@pytest.mark.parametrize("sent", [b"", b"abc", b"abcdefghij"])
async def test_a_body_that_is_not_as_long_as_declared_is_an_error(world, reply, sent):
    with pytest.raises(GatewayError) as caught:
        await read(world(reply(200, raw=sent, content_length="6")))
    assert caught.value.status == 200
    assert f"{len(sent)} of 6 bytes were received" in caught.value.message


@pytest.mark.parametrize("status", [204, 206, 400, 401, 403, 404, 410, 416])
async def test_only_200_is_a_download(world, reply, status):
    with pytest.raises(GatewayError) as caught:
        await read(world(reply(status)))
    assert (caught.value.status, caught.value.in_doubt) == (status, False)
    assert not isinstance(caught.value, KeyRefusedError)


async def test_opening_a_download_is_tried_again(world, reply):
    here = world(httpx.ConnectError, reply(429), reply(200, raw=b"abc"))
    assert await read(here) == b"abc"


async def test_an_encoded_download_is_refused(world, reply):
    with pytest.raises(GatewayError) as caught:
        await read(world(reply(200, raw=gzip.compress(b"abc"), content_encoding="gzip")))
    assert caught.value.code == "BAD_ANSWER"


async def test_a_body_that_breaks_off_is_an_error(world):
    async def body():
        yield b"abc"
        raise httpx.ReadError("reset")

    with pytest.raises(GatewayError) as caught:
        await read(world(lambda _: httpx.Response(200, content=body())))
    assert caught.value.code == "NO_ANSWER"


async def test_the_callers_own_errors_go_through_untouched(world, reply):
    async def read_to_a_full_disk() -> None:
        async with world(reply(200, raw=b"abc")).gateway.download(URL) as (_, chunks):
            async for _ in chunks:
                raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await read_to_a_full_disk()
