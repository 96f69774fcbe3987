"""Two players and a ball: typed messages, an ask, a crash, and an end. The example to read first.

    understudy run examples/ping_pong
    understudy tree examples/ping_pong

:mod:`.messages` has what they say to each other, :mod:`.actors` who they are, :mod:`.program` the tree.
"""
