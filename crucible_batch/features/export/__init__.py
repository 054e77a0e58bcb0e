"""The outputs of a run for other programs: folders, archives and tables."""
