"""The example `examples/web_service`: what its errors are in HTTP, what its health says, and how its process ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from examples.web_service.actors import PAUSE, Count, Smash, Stock
from examples.web_service.app import PATIENCE, Service, make_app
from examples.web_service.tour import server
from tests.cast import settle
from tests.examples.stage import ROOT, environment
from understudy import SystemCollapsed

pytestmark = pytest.mark.asyncio


@dataclass
class Open:
    """The application with its lifespan entered, and a client for it."""

    client: httpx2.AsyncClient
    service: Service
    collapses: list[SystemCollapsed]

    async def status(self, path: str, method: str = "POST") -> int:
        return (await self.client.request(method, path)).status_code

    async def health(self) -> tuple[int, Any]:
        response = await self.client.get("/healthz")
        return response.status_code, response.json()


@asynccontextmanager
async def opened() -> AsyncGenerator[Open, None]:
    collapses: list[SystemCollapsed] = []
    app = make_app(collapses.append)
    async with app.router.lifespan_context(app) as state:
        assert state is not None

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"state": dict(state)}, receive, send)

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(with_state), base_url="http://shop") as client:
            yield Open(client, state["service"], collapses)


# Errors


async def test_what_an_actor_refuses_is_a_4xx_and_changes_nothing() -> None:
    async with opened() as shop:
        refused = await shop.client.post("/items/lamp/take/4")
        unknown = await shop.client.get("/items/fish")
        assert (refused.status_code, refused.json()) == (409, {"error": "only 3 of lamp left"})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "there is no fish here"})
        assert (await shop.client.get("/items/lamp")).json() == {"count": 3}
        assert (await shop.health())[0] == 200


async def test_an_actor_that_does_not_answer_in_time_is_a_504_and_free_again() -> None:
    async with opened() as shop:
        began = asyncio.get_running_loop().time()
        assert await shop.status("/items/lamp/order") == 504
        assert asyncio.get_running_loop().time() - began == pytest.approx(PATIENCE, abs=0.01)
        await settle()
        assert shop.service.supplier.status == "running"
        assert (await shop.health()) == (200, {"live": True, "problems": []})


async def test_a_full_mailbox_is_a_503_and_says_when_to_try_again_and_what_is_nearly_full_is_not_ready() -> None:
    async with opened() as shop:
        orders: list[asyncio.Task[httpx2.Response]] = []
        for _ in range(4):
            orders.append(asyncio.create_task(shop.client.post("/items/lamp/order")))
            await settle()
        assert await shop.health() == (503, {"live": True, "problems": ["/user/shop/supplier is nearly full"]})
        assert await shop.status("/healthz/live", "GET") == 200
        answers = await asyncio.gather(*orders)
        assert sorted(answer.status_code for answer in answers) == [503, 504, 504, 504]
        assert [answer.headers.get("Retry-After") for answer in answers if answer.status_code == 503] == ["1"]
        assert (await shop.health())[0] == 200, "there is room again"


async def test_a_crash_is_a_500_that_tells_nothing_and_the_service_is_not_ready_until_the_restart() -> None:
    async with opened() as shop:
        crashed = await shop.client.post("/smash/stock")
        assert crashed.status_code == 500
        assert "shelf" not in crashed.text
        await settle()
        assert await shop.health() == (503, {"live": True, "problems": ["/user/shop/stock is restarting"]})
        assert await shop.status("/healthz/live", "GET") == 200
        assert await shop.status("/pay/30") == 200, "the others go on"
        assert await shop.status("/items/lamp", "GET") == 504
        await asyncio.sleep(PAUSE)
        assert await shop.status("/items/lamp", "GET") == 200
        assert (await shop.health())[0] == 200


async def test_an_actor_that_has_stopped_is_a_503() -> None:
    async with opened() as shop:
        shop.service.stock.stop()
        await shop.service.stock.wait_stopped()
        assert await shop.status("/items/lamp", "GET") == 503
        assert (await shop.health())[0] == 503


# The collapse


async def test_a_collapse_is_told_to_the_server_and_ends_the_lifespan_with_its_reason() -> None:
    kept: list[Open] = []
    with pytest.raises(SystemCollapsed, match="the drawer is stuck"):  # noqa: PT012 - as a whole
        async with opened() as shop:
            kept.append(shop)
            assert await shop.status("/smash/stock") == 500
            assert await shop.status("/smash/till") == 500
            await asyncio.sleep(3600.0)  # cancelled
            pytest.fail("it has gone quiet")
    assert [str(collapse).partition("\n")[0] for collapse in kept[0].collapses] == [
        "system 'system' collapsed: /user/shop ended: /user/shop/till failed 2 times in 60 s"
    ]


async def test_once_the_shop_has_ended_the_service_is_not_live_and_each_request_is_a_503() -> None:
    async with opened() as shop:
        shop.service.system.stop()
        await shop.service.system.wait_stopped()
        assert await shop.health() == (503, {"live": False, "problems": ["/user/shop has ended"]})
        assert await shop.status("/healthz/live", "GET") == 503
        assert await shop.status("/items/lamp", "GET") == 503
        assert shop.collapses == []


# The process


@pytest.fixture
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


PATIENT = """
import asyncio
import signal
import sys
from examples.web_service import actors, app, program
from understudy import handler

class Supplier(actors.Supplier):
    def initialize(self):
        self.signalled = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.signalled.set)

    @handler(cancellable=True)
    async def order(self, message: actors.Order) -> int:
        await self.signalled.wait()
        return 12

actors.Supplier = Supplier
app.PATIENCE = 30.0
sys.argv[1:] = ["--port", "0"]
sys.exit(program.main())
"""


@pytest.mark.real_time
@pytest.mark.usefixtures("in_the_checkout")
async def test_at_sigterm_the_requests_in_hand_are_answered_before_the_shop_closes() -> None:
    def scene() -> tuple[list[httpx2.Response], str, str]:
        with (
            server("-c", PATIENT, log=subprocess.PIPE) as (process, client),
            ThreadPoolExecutor() as threads,
        ):
            orders = [threads.submit(client.post, "/items/lamp/order", timeout=30.0) for _ in range(3)]
            while client.get("/healthz").status_code == 200:  # until all have come to the supplier
                assert not any(order.done() for order in orders)
            process.send_signal(signal.SIGTERM)
            while listens(client):
                assert process.poll() is None
            assert not any(order.done() for order in orders)
            process.send_signal(signal.SIGUSR1)
            responses = [order.result() for order in orders]
            out, err = process.communicate(timeout=30)
            return responses, out, err

    responses, out, err = await asyncio.to_thread(scene)
    assert [(response.status_code, response.json()) for response in responses] == [(200, {"count": 12})] * 3
    assert out == "the shop has closed\n"
    assert "Traceback" not in err


def listens(client: httpx2.Client) -> bool:
    """Whether there is still anybody at its address; what has been connected does not count."""
    try:
        with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=5.0):
            return True
    except ConnectionError:  # refused, or reset as it closes
        return False


@pytest.mark.real_time
@pytest.mark.usefixtures("in_the_checkout")
async def test_a_shop_that_does_not_open_is_an_exit_code_too() -> None:
    program = """
import sys
from examples.web_service import app, program
from examples.web_service.actors import Shop

class Broken(Shop):
    def initialize(self):
        raise ValueError("no key")

app.Shop = Broken
sys.exit(program.serve(0))
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 3, "that of uvicorn"
    assert "StartError: /user/broken did not start: ValueError: no key" in done.stderr


async def test_the_stock_counts_and_crashes_by_itself() -> None:
    async with opened() as shop:
        stock = shop.service.system.lookup("shop/stock", Stock)
        assert await stock.ask(Count(item="cord")) == 7
        stock.tell(Smash())
        await settle()
        assert stock.status == "restarting"
