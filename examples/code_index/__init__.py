"""An index of the functions, classes and imports of many Python files, built by supervised actors.

    understudy run examples/code_index
    understudy run examples/code_index -- --query dataclass

:mod:`.program` declares who there is, :mod:`.crew` holds the actors, :mod:`.parsing` what a worker process does,
:mod:`.workers` the processes, :mod:`.files` which files are read. ``broken/`` holds files that no Python can parse.
"""
