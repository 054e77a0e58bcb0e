"""What an uploaded file truly is."""

import io
from dataclasses import dataclass

from PIL import Image

_MAX_PIXELS = 40_000_000


class NotAnImageError(Exception):
    """The bytes are no image, a broken one, or one too large to be held in memory."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The true type and size of an image."""

    mime_type: str
    width: int
    height: int


def inspect(content: bytes) -> ImageFacts:
    """Decode an image to its last byte. Raises NotAnImageError."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise NotAnImageError
            image.load()
            return ImageFacts(image.get_format_mimetype() or "", image.width, image.height)
    # Pillow's decoders raise nearly anything on broken bytes; a warning arrives here where warnings are errors.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError) as error:
        raise NotAnImageError from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise NotAnImageError from error
