"""A state machine: the checkout of a shop, with a timeout, and with a payment that comes too early.

    python -m examples.checkout.program

:mod:`.machine` has the states and what happens in them, :mod:`.program` three customers.
"""
