"""The storage over real HTTP: signatures, what an upload must keep to, and what is recorded."""

from typing import Any

import pytest


async def test_an_api_key_is_refused_and_put_on_record(client: Any, picture: Any) -> None:
    intent = await client.intend(picture())
    response = await client.api.put(
        intent["upload_url"], content=picture(), headers={"content-type": "image/png"}
    )
    assert response.status_code == 403
    job = await client.job("zimage-base", "k")
    assert (await client.api.get(job["outputs"][0]["url"])).status_code == 403
    assert await client.violations() == ["authorization-at-storage"] * 2
    assert (await client.get(f"/api/v1/assets/{intent['asset_id']}"))["status"] == "pending_upload"


async def test_a_key_hidden_elsewhere_is_seen_too(client: Any, picture: Any) -> None:
    url = (await client.intend(picture()))["upload_url"]
    await client.storage.get(f"{url}&key={client.running.api_key}")
    await client.storage.get(url, headers={"x-key": client.running.api_key})
    violations = (await client.state())["violations"]
    assert [violation["kind"] for violation in violations] == ["key-at-storage"] * 2
    assert client.running.api_key not in str(violations)


@pytest.mark.parametrize(
    ("mime_type", "cut", "status", "violation"),
    [
        ("image/jpeg", 0, 400, "wrong-content-type"),
        ("image/png", 1, 400, "wrong-size"),
    ],
)
async def test_an_upload_must_be_what_was_declared(
    client: Any, picture: Any, mime_type: str, cut: int, status: int, violation: str
) -> None:
    content = picture()
    intent = await client.intend(content)
    response = await client.put(intent, content[: len(content) - cut], mime_type)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/xml")
    assert await client.violations() == [violation]
    assert (await client.put(intent, content)).status_code == 200


@pytest.mark.parametrize("content", [b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
async def test_an_upload_must_be_an_image(client: Any, content: bytes) -> None:
    intent = await client.intend(content)
    assert (await client.put(intent, content)).status_code == 400
    assert await client.violations() == ["not-an-image"]
    assert (await client.get(f"/api/v1/assets/{intent['asset_id']}"))["status"] == "pending_upload"


async def test_a_wrong_declaration_of_the_type_is_taken_but_noticed(
    client: Any, picture: Any
) -> None:
    await client.upload(picture(kind="JPEG"), "image/png")
    assert await client.violations() == ["wrong-image-type"]


async def test_an_upload_without_a_length_is_refused(client: Any, picture: Any) -> None:
    async def chunks() -> Any:
        yield picture()

    intent = await client.intend(picture())
    response = await client.storage.put(
        intent["upload_url"], content=chunks(), headers={"content-type": "image/png"}
    )
    assert response.status_code == 411
    assert await client.violations() == ["chunked-upload"]


async def test_a_url_is_good_for_its_verb_its_object_and_its_time(
    client: Any, picture: Any
) -> None:
    content = picture()
    first, second = await client.intend(content), await client.intend(content)
    token = first["upload_url"].partition("?")[2]
    assert token == f"token={first['upload_token']}"
    other = second["upload_url"].partition("?")[0]
    headers = {"content-type": "image/png"}
    forged = [
        await client.storage.put(f"{other}?{token}", content=content, headers=headers),
        await client.storage.get(first["upload_url"]),
        await client.storage.put(other, content=content, headers=headers),
    ]
    for response in forged:
        assert response.status_code == 403
        assert "<Code>SignatureDoesNotMatch</Code>" in response.text
    assert await client.violations() == ["bad-signature"] * 3
    await client.configure(advance_s=901)
    late = await client.put(first, content)
    assert late.status_code == 403
    assert "expired" in late.text
