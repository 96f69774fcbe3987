"""Addresses that are looked up anew for each message: by name, or by way of a registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from understudy._plans._spec import check_type
from understudy.actors._runtime import runtime_of
from understudy.exceptions import ActorNotFound, InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Hashable

    from understudy.actors._actor import Actor
    from understudy.actors._context import System
    from understudy.actors._ref import ActorRef
    from understudy.actors._registry import Registry
    from understudy.actors._runtime import Runtime
    from understudy.messages import Asks

__all__ = ["Address", "Name", "Via", "absolute"]

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


def absolute(path: str) -> str:
    """*path* from the root on; one that does not begin there is meant to be below ``/user``."""
    return path if path.startswith("/") else f"/user/{path}"


class Address(ABC, Generic[M_contra]):
    """Something that takes messages as a ref does, and finds out for each of them to whom it goes.

    A ref belongs to one actor and is of no use when that has ended for good. An address may lead to another one then.
    Nothing is promised about the order of messages that have gone to different actors.
    """

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @abstractmethod
    def _choose(self, message: M_contra) -> ActorRef[M_contra] | None:
        """Who gets *message*."""

    @property
    @abstractmethod
    def _place(self) -> str:
        """Where there would have to be an actor, for errors."""

    def tell(self, message: M_contra, *, sender: ActorRef[Any] | None = None) -> bool:
        """:meth:`ActorRef.tell` to the actor that is there now.

        Returns:
            False: there is none, or it has not accepted the message, which has become a dead letter.
        """
        self._check()
        ref = self._choose(message)
        if ref is None:
            self._lost(message, sender, told=True)
            return False
        return ref.tell(message, sender=sender)

    async def send(self, message: M_contra, *, timeout: float | None = None) -> None:
        """:meth:`ActorRef.send` to the actor that is there now; who comes later does not get it.

        Raises:
            ActorNotFound: There is none; the message has become a dead letter.
            UnderstudyError: What ``send`` of a ref raises.
        """
        await self._found(message).send(message, timeout=timeout)

    async def ask(self, message: Asks[M_contra, R], *, timeout: float | None = None) -> R:
        """:meth:`ActorRef.ask` of the actor that is there now; who comes later is not asked.

        Raises:
            ActorNotFound: There is none; the message has become a dead letter.
            UnderstudyError: What ``ask`` of a ref raises.
        """
        asked: Any = message
        return await self._found(asked).ask(message, timeout=timeout)

    def _found(self, message: M_contra) -> ActorRef[M_contra]:
        self._check()
        ref = self._choose(message)
        if ref is None:
            self._lost(message, None)
            raise ActorNotFound(path=self._place)
        return ref

    def _check(self) -> None:
        if self._runtime.elsewhere:
            raise self._runtime.misplaced(f"{type(self).__name__} ({self._place})")

    def _lost(self, message: object, sender: ActorRef[Any] | None, *, told: bool = False) -> None:
        path = None if sender is None else sender.path
        self._runtime.dead_letter(message, self._place, path, "nobody is there", told=told)


class Name(Address[M_contra]):
    """The actor at a path, whichever that is when a message is sent.

    ::

        north = Name(system, "meters/north", Meter)
        await north.ask(Observe(value=5))

    Args:
        system: The system, which is running.
        path: Absolute, or below ``/user``.
        actor: The class that it must have, for you and for the type checker. All calls raise ``WrongActorType`` when
            there is one of another class.
    """

    __slots__ = ("_actor", "_system", "path")

    @overload
    def __init__(self: Name[Any], system: System, path: str) -> None: ...
    @overload
    def __init__(self, system: System, path: str, actor: type[Actor[M_contra]]) -> None: ...
    def __init__(self, system: System, path: str, actor: type[Actor[Any]] | None = None) -> None:
        super().__init__(runtime_of(system))
        if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSpec(child="Name", field="path", problem=f"must be a string like 'meters/north', got {path!r}")
        self._system = system
        self._actor = None if actor is None else check_type(actor, f"Name {path}")
        self.path = absolute(path)
        """Like ``/user/meters/north``."""

    def find(self) -> ActorRef[M_contra] | None:
        """The actor that is there now, or None."""
        return self._system.find(self.path) if self._actor is None else self._system.find(self.path, self._actor)

    def _choose(self, message: M_contra) -> ActorRef[M_contra] | None:
        return self.find()

    @property
    def _place(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Name({self.path})"


class Via(Address[M_contra]):
    """The actor under a key of a registry, whichever that is when a message is sent.

    ::

        basket = Via(system.registry, ("basket", "anna"), Basket)
        basket.tell(Add(item="lamp"))

    Args:
        registry: The registry. Where keys are not unique, the actor is the one that has been there longest.
        key: The key.
        actor: The class that it must have, as for :class:`Name`.
    """

    __slots__ = ("_actor", "key", "registry")

    @overload
    def __init__(self: Via[Any], registry: Registry, key: Hashable) -> None: ...
    @overload
    def __init__(self, registry: Registry, key: Hashable, actor: type[Actor[M_contra]]) -> None: ...
    def __init__(self, registry: Registry, key: Hashable, actor: type[Actor[Any]] | None = None) -> None:
        super().__init__(registry.runtime)
        self._actor = None if actor is None else check_type(actor, f"Via {registry.name}, {key!r}")
        self.registry = registry
        self.key = key

    def find(self) -> ActorRef[M_contra] | None:
        """The actor that is there now, or None."""
        return self.registry.find(self.key) if self._actor is None else self.registry.find(self.key, self._actor)

    def _choose(self, message: M_contra) -> ActorRef[M_contra] | None:
        return self.find()

    @property
    def _place(self) -> str:
        return f"under key {self.key!r} of registry {self.registry.name!r}"

    def __repr__(self) -> str:
        return f"Via({self.registry.name}, {self.key!r})"
