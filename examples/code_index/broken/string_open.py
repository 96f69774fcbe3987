"""A long string that nobody ends."""

TEXT = """
Once upon a time
