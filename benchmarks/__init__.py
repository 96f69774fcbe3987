"""How fast understudy is, as ratios against a bare ``asyncio.Queue`` with one consumer task: ``make bench``.

Absolute times do not compare between machines, nor between two runs on one. So every workload is done twice, by actors
(or by the queue that they have, used on its own) and by the least that asyncio offers for it, called Q: a queue, and a
task that takes from it. Both are measured in the same process and the same run, one after the other and then the other
way round, five times. The table shows the median of the ratios and the lowest and highest of them; the times beside it
are for information only.

Both sides are treated alike: the same event loop, a full garbage collection before each sample, and the collector left
on during it. Each sample checks what it has done (messages handled, replies, how its actors ended), so that a wrong
measurement is an error and not a figure. Whatever is in the table is what the default settings give, unless its line
says otherwise.

    python -m benchmarks                            # all, in about eight minutes on a quiet machine
    python -m benchmarks --only W1a,W3 --json FILE  # some, merged into what the file has
    python -m benchmarks --docs                     # all, merged into the page and the pictures of the docs
    python -m benchmarks --quick                    # to see that it works; do not trust the figures
    python -m benchmarks.peers                      # other packages, each in an environment and a process of its own
    python -m benchmarks.gate                       # how many instructions the hot path takes, against gate.json
"""
