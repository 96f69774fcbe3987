"""The server.

python -m examples.web_service.program --port 8000
"""

from __future__ import annotations

import argparse
import socket
import sys

import structlog
import uvicorn

from understudy import SystemCollapsed

from .app import make_app

__all__ = ["main", "serve"]


def serve(port: int) -> int:
    """Serve on loopback until a signal comes or the shop collapses; the exit code.

    SIGINT and SIGTERM are uvicorn's: it lets requests in hand end, leaves the lifespan, which stops the actors in
    order, and then lets the signal do what it does to any process. It leaves by itself, with the code 3, when the shop
    does not open.
    """
    collapses: list[SystemCollapsed] = []

    def on_collapse(collapse: SystemCollapsed) -> None:
        collapses.append(collapse)
        server.should_exit = True  # or it would go on serving errors

    server = uvicorn.Server(uvicorn.Config(make_app(on_collapse), lifespan="on", log_level="warning"))
    with socket.create_server(("127.0.0.1", port)) as listening:
        print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        server.run(sockets=[listening])
    for collapse in collapses:
        print(collapse, flush=True)
    return 1 if collapses else 0


def main() -> int:
    """From the arguments to the exit code."""
    parser = argparse.ArgumentParser(description="A shop behind HTTP.")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free (default: %(default)s)")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    return serve(parser.parse_args().port)


if __name__ == "__main__":
    sys.exit(main())
