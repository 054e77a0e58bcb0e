"""A program of the manifest that is run once for each output, after it is saved."""
