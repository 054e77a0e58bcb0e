"""Seeds that follow from the content of jobs, so that each picture can be made again."""
