"""IPTC ``DigitalSourceType``: how a picture came to be.

``trainedAlgorithmicMedia``                   a model made it, from words and parameters
``compositeWithTrainedAlgorithmicMedia``      a model changed a picture or made one from it

Both are terms of https://cv.iptc.org/newscodes/digitalsourcetype/.
"""

from __future__ import annotations

from crucible_batch.core.parameter_info import IMAGE_FIELDS
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.provenance import XmpProperty
from crucible_batch.features.synthetic.manifest_keys import NAME

__all__ = ["NAME", "property_of"]
TRAINED = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
_NAMESPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def property_of(planned: PlannedJob) -> XmpProperty:
    """Return the mark of a job's outputs: a composite if it has an input image, also one that is
    named by its id at the gateway.
    """
    has_image = bool(planned.images) or any(name in IMAGE_FIELDS for name in planned.params)
    term = COMPOSITE if has_image else TRAINED
    return XmpProperty("Iptc4xmpExt", _NAMESPACE, "DigitalSourceType", f"{_TERMS}{term}")
