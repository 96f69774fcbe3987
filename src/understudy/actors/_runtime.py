"""What all cells of a system share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._asks import DeadlineQueue
from understudy.actors._dispatcher import Dispatcher
from understudy.instrument import Counters, Instrument, Instruments
from understudy.messages import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from understudy.actors._settings import Settings
    from understudy.environment import Environment

__all__ = ["Runtime"]


class Runtime:
    """The services of a system, handed to each cell."""

    __slots__ = (
        "asks",
        "counters",
        "dead_letter_subscribers",
        "dispatcher",
        "env",
        "instruments",
        "interrupt",
        "population",
        "settings",
        "system",
    )

    def __init__(self, env: Environment, settings: Settings, instruments: Sequence[Instrument], system: Any) -> None:
        self.env = env
        self.settings = settings
        self.system = system
        self.dispatcher = Dispatcher(
            env, limit=settings.messages_per_activation, slice_seconds=settings.slice_seconds, complain=self.complain
        )
        self.asks = DeadlineQueue(env)
        self.counters = Counters()
        self.instruments = Instruments((self.counters, *instruments), self.complain)
        self.interrupt: Callable[[], None] = lambda: None
        """What to do when a handler raises KeyboardInterrupt."""
        self.population = 0
        """How many actors there are, whatever their state."""
        self.dead_letter_subscribers: tuple[Any, ...] = ()
        """Refs; replaced as a whole, so that one who reads it is not disturbed by a change."""

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        """*message* has been lost. Exactly once for each lost message."""
        self.instruments.emit(Instrument.dead_letter, message, recipient, sender, why)
        if not self.dead_letter_subscribers:
            return
        letter = DeadLetter(message, recipient, sender, why)
        for subscriber in self.dead_letter_subscribers:
            subscriber.tell_quietly(letter)

    def complain(self, what: str, error: BaseException) -> None:
        """Report an error that has nobody else to go to."""
        self.env.loop.call_exception_handler({"message": f"understudy: {what}", "exception": error})
