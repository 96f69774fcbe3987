"""Python 2: an exception and its text were raised with a comma between them."""


def check(number):
    if number < 0:
        raise ValueError, "negative"
    return number
