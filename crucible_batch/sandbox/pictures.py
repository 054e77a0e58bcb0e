"""The pictures that jobs make, drawn from their params.

The same params and seed give the same bytes, on every run.
"""

import asyncio
import io
from random import Random

from PIL import Image, ImageChops, ImageFilter, ImageOps

from crucible_batch.sandbox import exact_json
from crucible_batch.sandbox.drawing import Style, caption, paint, style_of
from crucible_batch.sandbox.records import Job, OutputShape, digest
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.workflows import BY_ID, prompt


def render(job: Job, index: int, source: bytes | None) -> bytes:
    """Draw output `index` of a job; `source` are the bytes of its input image, if it has one."""
    shape, text = job.outputs[index], prompt(job.params)
    size, style = (shape.width, shape.height), style_of(text)
    scene = paint(size, style, _random_of(job, index))
    original = _decoded(source) if source else scene
    look = BY_ID[job.workflow_id].look
    if look == "upscale":  # without a label, which would hide what an enlargement is for
        return _encode(_enlarge(original, size), shape)
    picture = scene
    if look == "edit":
        strength = float(str(job.params.get("strength.value", "0.6")))
        fitted = ImageOps.fit(original, size, Image.Resampling.LANCZOS)
        picture = _edit(fitted, scene, style, strength)
    return _encode(caption(picture, text or "(no prompt)", _note(job, index)), shape)


def _random_of(job: Job, index: int) -> Random:
    """Return a generator seeded by all that was asked for, except asset ids.

    They differ from run to run.
    """
    asked = {name: value for name, value in job.params.items() if name != "image.image"}
    asked["sampler.seed"] = _seed(job)
    seed = digest(
        job.workflow_id, exact_json.dumps(asked, sort_keys=True), index, job.source_sha256
    )
    return Random(int.from_bytes(seed))  # noqa: S311 - chance for pictures, no secret


def _seed(job: Job) -> object:
    """Return the seed that was asked for.

    Without one each job has its own, so that a repeat is another picture. It follows from the
    idempotency key, not from chance: the same run makes the same pictures again.
    """
    own = int.from_bytes(digest(job.idempotency_key or job.job_id)[:4])
    return job.params.get("sampler.seed", own)


def _note(job: Job, index: int) -> str:
    note = f"{job.workflow_id}   seed {_seed(job)}"
    if len(job.outputs) == 1:
        return note
    return f"{note}   {index + 1} of {len(job.outputs)}"


def _decoded(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")


def _edit(original: Image.Image, scene: Image.Image, style: Style, strength: float) -> Image.Image:
    """Grade the image in the style's colours, and let the scene shine through by `strength`."""
    darkest, *_, lightest = sorted((*style.sky, *style.layers, style.accent), key=sum)
    graded = ImageOps.colorize(
        ImageOps.autocontrast(original.convert("L"), 1), darkest, lightest, style.layers[1]
    )
    lit = Image.blend(graded, ImageChops.soft_light(graded, scene), 0.7)
    return Image.blend(original, lit, 0.35 + 0.6 * strength)


def _enlarge(original: Image.Image, size: tuple[int, int]) -> Image.Image:
    enlarged = original.resize(size, Image.Resampling.LANCZOS)
    return enlarged.filter(ImageFilter.UnsharpMask(radius=1.5, percent=60, threshold=2))


def _encode(image: Image.Image, shape: OutputShape) -> bytes:
    buffer = io.BytesIO()
    if shape.mime_type == "image/jpeg":
        image.save(buffer, "JPEG", quality=88)
    else:
        image.save(buffer, "PNG", compress_level=2)
    return buffer.getvalue()


class Outputs:
    """Outputs by job and index.

    The same job always gives the same bytes, so nothing needs to be stored.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def content(self, job: Job, index: int) -> bytes:
        if job.black:
            shape = job.outputs[index]
            return _encode(Image.new("RGB", (shape.width, shape.height)), shape)
        # Read here, since SQLite connections belong to the thread that opened them.
        source = None
        if job.source_sha256:
            source = self._store.blob(job.source_sha256)
        return await asyncio.to_thread(render, job, index, source)
