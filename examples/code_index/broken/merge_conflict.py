"""Saved in the middle of a merge."""

<<<<<<< HEAD
LIMIT = 10
=======
LIMIT = 20
>>>>>>> feature
