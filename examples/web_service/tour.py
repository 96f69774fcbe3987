"""A client that tries all of the service: what goes well, what is refused, what fails, and how it ends.

python -m examples.web_service.tour
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import httpx2

__all__ = ["main", "server"]


@contextmanager
def server(
    *arguments: str, log: int | None = subprocess.DEVNULL
) -> Generator[tuple[subprocess.Popen[str], httpx2.Client], None, None]:
    """The program in a process of its own, and a client for it; *arguments* are for Python."""
    command = [sys.executable, *(arguments or ("-m", "examples.web_service.program", "--port", "0"))]
    with subprocess.Popen(  # noqa: S603 - nothing in it is from outside
        command, stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("listening on ").strip()
            with httpx2.Client(base_url=url, trust_env=False) as client:
                yield process, client
        finally:
            process.kill()  # unless it has ended


def show(client: httpx2.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    print(f"{method} {path}: {response.status_code} {response.text}")


def end(process: subprocess.Popen[str]) -> None:
    rest, _ = process.communicate()
    print("".join(f"   | {line}\n" for line in rest.splitlines()), end="")
    print(f"   ended with {process.returncode}")


def main() -> None:
    """Two servers, one after the other."""
    print("A day at the shop")
    with server() as (process, client):
        show(client, "GET", "/healthz")
        show(client, "GET", "/items/lamp")
        show(client, "POST", "/items/lamp/take/2")
        show(client, "POST", "/items/lamp/take/2")
        show(client, "GET", "/items/fish")
        show(client, "POST", "/items/lamp/order")
        process.send_signal(signal.SIGTERM)
        end(process)
    print("Another day, with accidents")
    with server() as (process, client):
        show(client, "POST", "/smash/stock")
        show(client, "GET", "/healthz")
        show(client, "GET", "/healthz/live")
        show(client, "POST", "/pay/30")
        show(client, "POST", "/smash/till")
        end(process)


if __name__ == "__main__":
    main()
