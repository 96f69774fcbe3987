"""A bracket is closed once more than it was opened."""

PRIMES = [2, 3, 5, 7, 11, 13]]
