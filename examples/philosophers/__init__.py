"""Dining philosophers: two ways to wait for ever, one to eat, and what becomes of forks whose holder crashes.

    understudy run examples/philosophers
    understudy tree examples/philosophers

:mod:`.messages` has what guests and forks say to each other, :mod:`.actors` who they are, :mod:`.table` where they sit,
:mod:`.program` the evening.
"""
