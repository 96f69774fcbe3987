"""A shop whose services know events, and not each other.

    understudy run examples/order_events
    understudy tree examples/order_events

:mod:`.program` declares who there is, :mod:`.events` what happens, :mod:`.services` who does what then.
"""
