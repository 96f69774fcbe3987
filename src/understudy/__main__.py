"""``python -m understudy`` is the command ``understudy``."""

import sys

from understudy.cli._main import main

if __name__ == "__main__":  # processes that a program spawns import this file under another name
    sys.exit(main())
