"""The floor of a manifest:

PyYAML's C loader on the whole file, nothing checked. ``load_yaml.py MANIFEST``.
"""

import sys

import yaml

with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - as short as a script can be
    yaml.load(file, Loader=yaml.CSafeLoader)
