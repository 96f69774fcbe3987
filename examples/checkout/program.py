"""Three customers: one pays, one pays too early, one does not pay at all.

python -m examples.checkout.program
"""

from __future__ import annotations

import asyncio

from understudy import ActorSystem, Refused, Unhandled, run

from .machine import PATIENCE, Add, Checkout, Paid, Pay, Status

__all__ = ["main"]


async def pays() -> None:
    """In the order that one expects."""
    print("Ada pays")
    async with ActorSystem() as system:
        till = await system.spawn(Checkout, print)
        try:
            await till.ask(Pay())
        except Refused as refused:
            print(f"   refused: {refused}")
        await till.ask(Add(item="lamp", price=30))
        print(f"   in the basket: {await till.ask(Add(item='cord', price=12))}")
        print(f"   {await till.ask(Pay())}")
        till.tell(Paid(amount=42))
        print(f"   {await till.ask(Status())}")
        try:
            await till.ask(Add(item="bulb", price=3))
        except Unhandled:
            print("   nothing can be added any more")


async def pays_early() -> None:
    """The bank is quicker than the customer."""
    print("Ben pays before he is asked to")
    async with ActorSystem() as system:
        till = await system.spawn(Checkout, print)
        await till.ask(Add(item="lamp", price=30))
        till.tell(Paid(amount=30))
        print(f"   {await till.ask(Status())}")
        asked, after = await till.ask(Pay()), await till.ask(Status())
        print(f"   {asked}\n   {after}")


async def forgets() -> None:
    """A timeout of the state ends it."""
    print("Cas forgets to pay")
    async with ActorSystem() as system:
        till = await system.spawn(Checkout, print)
        await till.ask(Add(item="lamp", price=30))
        print(f"   {await till.ask(Pay())}")
        await asyncio.sleep(2 * PATIENCE)
        print(f"   {await till.ask(Status())}")


async def main() -> None:
    """One after the other, and the machine as a picture."""
    for customer in (pays, pays_early, forgets):
        await customer()
    print(Checkout.mermaid())


if __name__ == "__main__":
    run(main())
