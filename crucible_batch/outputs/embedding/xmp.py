"""An XMP packet with one property of ours (ISO 16684-1): how JPEG and WebP carry a text."""

from __future__ import annotations

from xml.sax.saxutils import escape

NAMESPACE = "urn:crucible-batch:xmp:1#"
PROPERTY = "provenance"


def packet(text: str) -> bytes:
    """Return a packet whose only property is ``text``, which is ASCII without control characters."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:crucible="{NAMESPACE}">'
        f"<crucible:{PROPERTY}>{escape(text)}</crucible:{PROPERTY}>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()
