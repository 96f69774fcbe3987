"""A line comes back to a depth that was never there."""


def lost(flag):
    if flag:
            return 1
        return 2
