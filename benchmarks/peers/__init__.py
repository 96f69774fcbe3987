"""Other packages, each measured in a virtual environment and a process of its own, beside the same Q: see __main__.

A module here is named after what it measures and is what that process runs. It imports the package and the standard
library, of this repository only :mod:`benchmarks.peers.stage` and what that needs; understudy is not installed there.
Each does a workload as the package's own documentation does such things.
"""
