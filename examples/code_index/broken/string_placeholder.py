"""A formatted string with nothing to format."""

TEXT = f"the answer is {}"
