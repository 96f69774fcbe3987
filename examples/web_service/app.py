"""The application: a lifespan that holds the actors, routes that ask them, and what their errors are in HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from understudy import (
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    MailboxFull,
    Refused,
    SystemCollapsed,
)

from .actors import Count, Order, Pay, Shop, Smash, Stock, Supplier, Take, Till, UnknownItem
from .health import Health

__all__ = ["make_app"]

PATIENCE = 0.5
"""Seconds that a request waits for an actor."""


@dataclass(frozen=True)
class Service:
    """What the routes use."""

    system: ActorSystem
    health: Health
    stock: ActorRef[Count | Take | Smash]
    till: ActorRef[Pay | Smash]
    supplier: ActorRef[Order]


class State(TypedDict):
    service: Service


def make_app(on_collapse: Callable[[SystemCollapsed], object]) -> Starlette:
    """The application. *on_collapse* is called when the shop is beyond repair, and must see to it that all ends."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[State, None]:
        health = Health("shop")
        try:
            async with ActorSystem(Shop, instruments=[health]) as system:
                stock, till = system.lookup("shop/stock", Stock), system.lookup("shop/till", Till)
                service = Service(system, health, stock, till, system.lookup("shop/supplier", Supplier))
                yield {"service": service}
        except SystemCollapsed as collapse:
            on_collapse(collapse)
            raise

    return Starlette(routes=ROUTES, lifespan=lifespan, exception_handlers=ERRORS)


def service_of(request: Request) -> Service:
    service: Service = request.state.service
    return service


async def count(request: Request) -> JSONResponse:
    item = request.path_params["item"]
    return JSONResponse({"count": await service_of(request).stock.ask(Count(item=item), timeout=PATIENCE)})


async def take(request: Request) -> JSONResponse:
    message = Take(item=request.path_params["item"], amount=request.path_params["amount"])
    return JSONResponse({"left": await service_of(request).stock.ask(message, timeout=PATIENCE)})


async def pay(request: Request) -> JSONResponse:
    message = Pay(amount=request.path_params["amount"])
    return JSONResponse({"total": await service_of(request).till.ask(message, timeout=PATIENCE)})


async def order(request: Request) -> JSONResponse:
    message = Order(item=request.path_params["item"])
    return JSONResponse({"count": await service_of(request).supplier.ask(message, timeout=PATIENCE)})


async def smash(request: Request) -> JSONResponse:
    service = service_of(request)
    victim: ActorRef[Smash] = service.till if request.path_params["what"] == "till" else service.stock
    await victim.ask(Smash(), timeout=PATIENCE)
    return JSONResponse({})


async def healthz(request: Request) -> JSONResponse:
    """For who sends requests here: 503 as long as he had better not."""
    service = service_of(request)
    report = service.health.report(service.system)
    return JSONResponse(asdict(report), 200 if report.ready else 503)


async def livez(request: Request) -> JSONResponse:
    """For who restarts processes: 503 when nothing else helps. A restart of one actor is no reason."""
    service = service_of(request)
    live = service.health.report(service.system).live
    return JSONResponse({"live": live}, 200 if live else 503)


ROUTES = [
    Route("/items/{item}", count),
    Route("/items/{item}/take/{amount:int}", take, methods=["POST"]),
    Route("/items/{item}/order", order, methods=["POST"]),
    Route("/pay/{amount:int}", pay, methods=["POST"]),
    Route("/smash/{what}", smash, methods=["POST"]),
    Route("/healthz", healthz),
    Route("/healthz/live", livez),
]


Answer: TypeAlias = "Callable[[Request, Exception], Awaitable[JSONResponse]]"


def says(status: int, **headers: str) -> Answer:
    """Answer with *status* and what the error says of itself."""

    async def answer(request: Request, error: Exception) -> JSONResponse:  # `async`: a `def` would run in a thread
        return JSONResponse({"error": str(error)}, status, headers)

    return answer


async def late(request: Request, error: Exception) -> JSONResponse:
    """Whether it has been done is unknown."""
    return JSONResponse({"error": "no answer in time"}, 504)


async def failed(request: Request, error: Exception) -> JSONResponse:
    """The actor has crashed, the log says how, and the client need not know."""
    return JSONResponse({"error": "something has gone wrong here"}, 500)


ERRORS: Mapping[Any, Answer] = {
    UnknownItem: says(404),
    Refused: says(409),  # the actor said no, for a reason
    AskTimeout: late,
    MailboxFull: says(503, **{"Retry-After": "1"}),
    ActorStopped: says(503, **{"Retry-After": "1"}),
    ActorFailed: failed,
}
"""The most specific class of an error decides."""
