"""Supervision as data and pure functions: what is declared, who restarts, when it is too much."""
