"""What an actor has not handled when it has ended for good: for the function that its spec names."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

from understudy.exceptions import InvalidActor
from understudy.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.actors._cell import Cell
    from understudy.messages import DeadLetter

__all__ = ["hand_over"]


def hand_over(cell: Cell, letters: Sequence[DeadLetter]) -> None:
    """Let the function of *cell* take *letters*: all of them, or they are dead letters all the same."""
    runtime = cell.runtime
    try:
        # It is called on the stack of whoever has ended the actor, whose variables are none of its business.
        _check(Context().run(cell.option("leftovers"), tuple(letters)), cell)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            runtime.interrupt()
        runtime.complain(f"the function for the leftovers of {cell.path} raised: they are dead letters", error)
        for each in letters:
            runtime.dead_letter(each.message, each.recipient, each.sender, each.why, told=True)
    else:
        for each in letters:
            runtime.instruments.emit(Instrument.left_over, each.message, each.recipient, each.sender, each.why)


def _check(result: Any, cell: Cell) -> None:
    if isinstance(result, Coroutine):
        result.close()
        problem = "the function for its leftovers has returned a coroutine: let it be `def`, and send an actor messages"
        raise InvalidActor(actor=cell.class_name, problem=problem)
