"""The journal: the events of one run directory, and the plan of its newest run.

Modules are imported on first use, since planning needs neither the events nor the lock. The stub
beside this file has the types.
"""

from crucible_batch.lazy_imports import lazily

__getattr__, __dir__ = lazily(__name__, __file__)
