"""Features: what takes part in runs, plans and the command line, and is not needed to buy one image and save it."""
