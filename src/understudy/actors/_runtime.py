"""What all cells of a system share."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from understudy.actors._asks import DeadlineQueue, message_of
from understudy.actors._dispatcher import Dispatcher
from understudy.actors._monitors import is_exempt, placed, weighed
from understudy.environment import Blocking, Environment, place
from understudy.exceptions import InvalidContext
from understudy.instrument import Instrument, Instruments
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.mailbox._rules import PLAIN
from understudy.messages import DeadLetter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from understudy.actors._context import System
    from understudy.actors._handler import HandlerTable
    from understudy.actors._inbox import Inbox
    from understudy.actors._intake import Intake
    from understudy.actors._settings import Settings
    from understudy.mailbox._overflow import Mailbox
    from understudy.mailbox._rules import Rules

__all__ = ["DEAD_LETTERS", "KeptLetter", "Runtime", "own_table", "runtime_of"]

DEAD_LETTERS = "/system/dead_letters"
"""Where the system actor is that tells dead letters again. It does so once: what dies a second time is not kept."""

KeptLetter: TypeAlias = tuple[object, str]
"""A message, and the path of its recipient."""


class Runtime:
    """The services of a system, handed to each cell.

    The methods ``make_...`` say what they are made of. An event loop that stands for the whole outside, a simulated
    one, names a subclass in its attribute ``understudy_runtime``; see :meth:`of`.
    """

    __slots__ = (
        "asks",
        "blocking",
        "dead_letter_subscribers",
        "defaults",
        "dispatcher",
        "env",
        "instruments",
        "interrupt",
        "kept_letters",
        "population",
        "serving",
        "settings",
        "system",
        "table_of",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: Settings, instruments: Sequence[Instrument], system: Any
    ) -> None:
        self.env = self.make_environment(loop)
        self.settings = settings
        self.defaults = defaults_of(settings)
        """What an option is where neither the spec of an actor nor its class says anything."""
        self.system = system
        self.dispatcher = self.make_dispatcher()
        self.asks = DeadlineQueue(self.env)
        self.blocking = Blocking(self.env, settings.blocking_threads)
        self.instruments = Instruments(instruments, self.complain)
        self.interrupt: Callable[[], None] = lambda: None
        """What to do when a handler raises KeyboardInterrupt."""
        self.population = 0
        """How many actors there are, whatever their state."""
        self.serving = False
        """A cell is being told of a child of its own, on the stack of that child."""
        self.dead_letter_subscribers: tuple[Any, ...] = ()
        """Refs; replaced as a whole, so that one who reads it is not disturbed by a change."""
        self.kept_letters: deque[KeptLetter] = deque(maxlen=settings.dead_letters_kept)
        """The latest messages that were told and lost, oldest first; they can be told again."""
        self.table_of: Callable[[Inbox, Any], HandlerTable] = own_table
        """The handlers of an actor in a cell, asked for once for each incarnation: where tests put themselves between
        the two."""

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> type[Runtime]:
        """The class of the runtimes that belong to *loop*."""
        found: type[Runtime] = getattr(loop, "understudy_runtime", cls)
        return found

    def make_environment(self, loop: asyncio.AbstractEventLoop) -> Environment:
        """The ports to the outside."""
        return Environment(loop)

    def make_dispatcher(self) -> Dispatcher:
        """Who activates the cells that have work."""
        limit, slice_seconds = self.settings.messages_per_activation, self.settings.slice_seconds
        return Dispatcher(self.env, limit=limit, slice_seconds=slice_seconds, complain=self.complain)

    def make_mailbox(self, cell: Inbox) -> AsyncMessageQueue[Any]:
        """The mailbox of *cell*."""
        return AsyncMessageQueue(cell.option("mailbox").capacity, rules=self.rules_of(cell))

    def rules_of(self, cell: Intake) -> Rules:
        """How the mailbox of *cell* deals with what is in it."""
        mailbox: Mailbox = cell.option("mailbox")
        if mailbox.plain:
            return PLAIN
        rules = mailbox.rules(
            message_of=message_of,
            on_drop=cell.displaced,
            on_high=lambda load: self.instruments.emit(Instrument.mailbox_high, cell.path, load),
            on_low=lambda load: self.instruments.emit(Instrument.mailbox_low, cell.path, load),
        )
        if rules.policy == "stop":
            rules = replace(rules, policy="block")  # the queue goes on: it is the actor that fails
        elif rules.policy == "drop_old":
            rules = replace(rules, exempt=is_exempt)
        if rules.weigh is not None:
            rules = replace(rules, weigh=weighed(rules.weigh))
        return rules if rules.priority is None else replace(rules, priority=placed(rules.priority))

    def write_log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Write one line of the runtime's own log."""
        getattr(structlog.get_logger("understudy"), level)(event, **fields)

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str, *, told: bool = False) -> None:
        """*message* has been lost. Exactly once for each lost message.

        Args:
            told: It was told, or had been accepted, and nobody has got an error for it.
        """
        if told and sender != DEAD_LETTERS:
            self.kept_letters.append((message, recipient))
        self.instruments.emit(Instrument.dead_letter, message, recipient, sender, why)
        if not self.dead_letter_subscribers:
            return
        letter = DeadLetter(message, recipient, sender, why)
        for subscriber in self.dead_letter_subscribers:
            subscriber.tell_quietly(letter)

    @property
    def elsewhere(self) -> bool:
        """Whether this is called outside of the event loop, as far as `place` can tell."""
        return place() != self.env.place

    def misplaced(self, what: str, remedy: str = "call it there, by loop.call_soon_threadsafe") -> InvalidContext:
        """The error of who uses *what* outside of the event loop; *remedy* is for one in another thread or loop."""
        env = self.env
        if env.forked:
            remedy = "start a system of its own in this process"
        elif env.loop.is_closed():
            remedy = "start another system"
        return InvalidContext(what=what, problem=f"used {env.whereabouts()}, and nothing was done: {remedy}")

    def complain(self, what: str, error: BaseException) -> None:
        """Report an error that has nobody else to go to."""
        self.env.loop.call_exception_handler({"message": f"understudy: {what}", "exception": error})


def runtime_of(system: System) -> Runtime:
    """The services of *system*.

    Raises:
        InvalidContext: It is not running yet.
    """
    return system._running()  # pyright: ignore[reportPrivateUsage]


def defaults_of(settings: Settings) -> Mapping[str, Any]:
    """The options that have a value when nobody has said anything."""
    return {
        "restart": "permanent",
        "max_concurrency": 100,
        "on_restart": "wait",
        "shutdown": settings.shutdown,
        "mailbox": settings.mailbox,
        "start_timeout": settings.start_timeout,
        "stash": settings.stash,
    }


def own_table(cell: Inbox, actor: Any) -> HandlerTable:
    """That of its class."""
    table: HandlerTable = actor.__understudy_handlers__
    return table
