"""A bracket is never closed."""

PRIMES = [2, 3, 5, 7, 11, 13
