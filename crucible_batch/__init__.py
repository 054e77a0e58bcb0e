"""crucible-batch: manifest-driven image batches on the Crucible gateway, with the spend capped and
proven.

    from crucible_batch import run

    result = await run("manifest.yaml", budget=25)

Names that can be imported from here are stable; the stub beside this file has its types. Names are
loaded when they are first used, so that the command line starts without an HTTP stack.
"""

import logging

from crucible_batch.lazy_imports import lazily

__version__ = "0.1.0"

__getattr__, __dir__ = lazily(__name__, __file__)

logging.getLogger(__name__).addHandler(logging.NullHandler())
