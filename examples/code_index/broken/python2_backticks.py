"""Python 2: backticks meant repr()."""


def show(value):
    return `value`
