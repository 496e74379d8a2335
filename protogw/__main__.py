"""`python -m protogw` is `protogw`."""

import sys

from protogw.cli import main

if __name__ == "__main__":
    sys.exit(main())
