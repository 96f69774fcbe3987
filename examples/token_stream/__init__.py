"""A model answers in a stream of tokens, and its readers finish, leave, stall and fail.

    understudy run examples/token_stream
    understudy tree examples/token_stream

:mod:`.program` declares who there is, :mod:`.actors` what they do.
"""
