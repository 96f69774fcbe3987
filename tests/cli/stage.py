"""Programs for the tests of the command line; each is a target, `stage.py:Name`."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Sequence

from understudy import Actor, ChildSpec, ExitReason, Message, Supervisor, UsageError, child, supervisor
from understudy import handler as handles
from understudy.agents import AsyncAgent, AsyncProgram


class Go(Message):
    """Sent by an actor to itself when it has started."""


class Speaker(Actor[Go]):
    """Says something and ends the program."""

    def __init__(self, text: str = "hello") -> None:
        self.text = text

    def initialize(self) -> None:
        self.context.ref.tell(Go())

    @handles
    def go(self, message: Go) -> None:
        print(self.text)
        self.log.info("spoken", text=self.text)
        self.context.system.stop()


class Fine(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Speaker)]


class Taking(Supervisor):
    """Takes what to say."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def from_args(cls, args: Sequence[str]) -> ChildSpec:
        if not args:
            raise UsageError("say what to say")
        if args == ["--help"]:
            print("usage: TEXT ...")
            sys.exit()
        if args == ["--leave"]:
            sys.exit("not today")
        return child(cls, " ".join(args))

    def children(self) -> list[ChildSpec]:
        return [child(Speaker, self.text)]


declared = supervisor("declared", child(Speaker, "declared in line"))


# Failures


class Crashing(Actor[Go]):
    def initialize(self) -> None:
        self.context.ref.tell(Go())

    @handles
    def go(self, message: Go) -> None:
        try:
            raise KeyError("key")
        except KeyError as error:
            raise ValueError("no good") from error


class Collapsing(Supervisor):
    max_restarts = 1

    def children(self) -> list[ChildSpec]:
        return [supervisor("inner", child(Crashing), max_restarts=2)]


class Failer(Actor[Go]):
    """Fails a few times, each time with other words, then ends the program."""

    failures = 0

    def initialize(self) -> None:
        self.context.ref.tell(Go())

    @handles
    async def go(self, message: Go) -> None:
        await asyncio.sleep(0.02)
        number, Failer.failures = Failer.failures, Failer.failures + 1
        if number < 4:
            raise ValueError(f"no {number}")
        self.context.system.stop()


class Failing(Supervisor):
    max_restarts = 10

    def children(self) -> list[ChildSpec]:
        return [child(Failer)]


class Unable(Actor[Go]):
    def initialize(self) -> None:
        raise OSError("the port is taken")

    @handles
    def go(self, message: Go) -> None: ...


class NotStarting(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [supervisor("inner", child(Unable))]


class Misdeclared(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Speaker).options(name="one"), child(Speaker).options(name="one")]


class Undeclarable(Supervisor):
    def children(self) -> list[ChildSpec]:
        raise LookupError("who?")


class Talkative(Actor[Go]):
    """Speaks through all that may end up in the log, then fails once, then ends the program."""

    failed = False

    def initialize(self) -> None:
        self.context.ref.tell(Go())

    @handles
    def go(self, message: Go) -> None:
        if Talkative.failed:
            self.context.system.stop()
            return
        Talkative.failed = True
        logging.getLogger("library").warning("from %s", "logging")
        try:
            raise KeyError("logged")
        except KeyError:
            logging.getLogger("library").exception("with a traceback")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("from warnings", UserWarning, stacklevel=1)
        self.log.info("from structlog", odd=object())
        raise ValueError("two\nlines")


class Talking(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Talkative)]


class Blocker(Speaker):
    """Holds the event loop until the watchdog has said so, or for long; then ends the program."""

    reported = threading.Event()

    @handles
    def go(self, message: Go) -> None:
        if not self.reported.wait(50):
            raise TimeoutError("nobody has said so")
        super().go(message)


class Blocking(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Blocker, "free again")]


# What runs until it is told to end


class Player(Actor[Go]):
    def __init__(self, name: str) -> None:
        self.name = name

    def initialize(self) -> None:
        print(f"{self.name} is up", flush=True)

    @handles
    def go(self, message: Go) -> None: ...

    async def shutdown(self, reason: ExitReason) -> None:
        print(f"{self.name} goes", flush=True)


class Dawdler(Player):
    async def shutdown(self, reason: ExitReason) -> None:
        await super().shutdown(reason)
        await asyncio.sleep(1_000)


class Waiting(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Player, "first").options(name="first"), child(Player, "last").options(name="last")]


class Dawdling(Supervisor):
    def children(self) -> list[ChildSpec]:
        return [child(Dawdler, "dawdler").options(shutdown=25.0)]


program = Fine


# Programs of agents


class Pupil(AsyncAgent[Go]):
    """Says that it is there, and is done."""

    def __init__(self, text: str = "present") -> None:
        self.text = text

    def initialize(self) -> None:
        self.context.ref.tell(Go())

    @handles
    def go(self, message: Go) -> None:
        print(f"{self.id}: {self.text}")
        self.context.stop()


class School(AsyncProgram):
    def __init__(self, *texts: str) -> None:
        self.texts = texts or ("present",)

    @classmethod
    def from_args(cls, args: Sequence[str]) -> AsyncProgram:
        return cls(*args)

    def agents(self) -> list[ChildSpec]:
        return [child(Pupil, text) for text in self.texts]

    async def clean_up(self) -> None:
        print("the school closes", flush=True)


class Staying(School):
    """Runs until it is told to end."""

    def agents(self) -> list[ChildSpec]:
        return [child(Player, "teacher").options(name="teacher")]


class Burning(School):
    async def execute(self) -> object:
        raise OSError("it burns")


class Misfounded(School):
    def agents(self) -> list[ChildSpec]:
        return [child(Pupil).options(name="one"), child(Pupil).options(name="one")]


school = School("late")
