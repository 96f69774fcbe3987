"""Actors in a notebook: `meters.ipynb`, and :mod:`.execute`, which runs it as Jupyter would.

python -m examples.notebook.execute
"""
