"""A bracket is closed by another kind of bracket."""

PRIMES = [2, 3, 5, 7, 11, 13)
