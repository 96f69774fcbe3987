"""Python 2: a leading zero made a number octal."""

MODE = 0755
