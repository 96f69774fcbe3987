"""A long job: progress, two ways to call it off, a draft on disk that survives a crash, and an end in order.

    understudy run examples/long_job
    understudy run examples/long_job -- SOME/FOLDER --below 5000000
    understudy tree examples/long_job

:mod:`.messages` has what is said, :mod:`.actors` who says it, :mod:`.draft` what is on disk, :mod:`.program` the tree.
"""
