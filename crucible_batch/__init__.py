"""crucible-batch: manifest-driven image batches on the Crucible gateway, with the spend capped and proven."""

__version__ = "0.1.0"
