"""What a picture says of itself in its XMP, by readers that are not ours: Pillow finds the packet,
an XML parser the property.
"""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

from PIL import Image

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{TERMS}trainedAlgorithmicMedia"
COMPOSITE = f"{TERMS}compositeWithTrainedAlgorithmicMedia"
_PROPERTY = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def source_types(content: bytes) -> list[str | None]:
    """The values of IPTC DigitalSourceType, each in a description of the picture itself."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # a PNG's packet may stand behind its pixels
        packet = image.info.get("xmp")
    if packet is None:
        return []
    root = ET.fromstring(packet.decode().strip("\0"))
    assert root.tag == "{adobe:ns:meta/}xmpmeta"
    (rdf,) = root
    found = []
    for description in rdf:
        assert description.tag == f"{_RDF}Description"
        if description.get(f"{_RDF}about") == "":
            found += [each.text for each in description if each.tag == _PROPERTY]
    return found


def pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGBA").tobytes()
