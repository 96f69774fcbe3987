"""The file ends where a body should begin."""


def unfinished(flag):
