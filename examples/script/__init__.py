"""A script without an event loop: threads count the words of texts, and actors keep the sum.

    python -m examples.script.program

:mod:`.actors` has the actors, :mod:`.program` the script.
"""
