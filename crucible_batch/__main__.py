"""``python -m crucible_batch``: the same as the ``crucible-batch`` command."""

from crucible_batch.cli import main

if __name__ == "__main__":
    main()
