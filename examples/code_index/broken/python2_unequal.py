"""Python 2: `<>` was another way to write `!=`."""


def differ(left, right):
    return left <> right
