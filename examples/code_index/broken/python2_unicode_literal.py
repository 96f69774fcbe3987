"""Python 2: a string could be raw and unicode at once."""

PATTERN = ur"\w+"
