"""One supervisor for each strategy; in each of them somebody fails, and the order of what follows is printed.

    understudy run examples/strategies
    understudy tree examples/strategies

:mod:`.program` declares who there is, :mod:`.actors` what they do.
"""
