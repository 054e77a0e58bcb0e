"""A submit in doubt whose input images were deleted at the gateway by another client, and what can be sent instead.

The key of a job depends on the bytes of its images, and not on their asset ids. So the same key with other assets of
the same images is the same purchase: if the gateway has received the earlier submit, it answers with that job or
refuses the key, and otherwise it has bought nothing under this key yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Job
from crucible_batch.domain.plan import InputImage
from crucible_batch.domain.retry_rule import KEY_REUSED
from crucible_batch.engine.uploads import AssetUploader


async def with_present_assets(job: Job, images: Mapping[str, InputImage], uploader: AssetUploader) -> Job | None:
    """Return the job with the assets that its images have at the gateway now; None if an image is not there.

    Nothing is uploaded, since the job's hold is for its earlier submit. Raises ``GatewayError``.
    """
    nobody = ""
    await uploader.look_up(images.values())
    if not uploader.are_there(images.values()):
        return None
    assets = {param: await uploader.ready(image, payer=nobody) for param, image in images.items()}
    return replace(job, assets=assets)


def image_deleted(error: ErrorInfo) -> ErrorInfo:
    """Return the error of a refused submit in doubt, with what to do if an image of its job is not at the gateway."""
    if error.code == KEY_REUSED:
        return error
    return replace(
        error,
        hint="an input image of this job was deleted at the gateway. An earlier submit was never answered and may have"
        " bought the job, so its credits stay held. Once another job, in this run or with another --run-id, has"
        " uploaded the same file, run the same command again: the job is sent with it under the same key, which can't"
        " buy it twice",
    )
