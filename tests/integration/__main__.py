"""The program; see `tests.integration.program`.

A module of its own, so that what the program stores is of a module with a name.
"""

import sys

from tests.integration.program import main

main(*sys.argv[1:])
