"""A shop behind HTTP: a Starlette application whose lifespan holds the actors.

    python -m examples.web_service.program --port 8000
    python -m examples.web_service.tour

:mod:`.actors` is the shop, :mod:`.app` its routes and errors, :mod:`.health` what `/healthz` says, :mod:`.program` the
server, and :mod:`.tour` a client that tries all of it.
"""
