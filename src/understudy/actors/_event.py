"""What is published: ``Event``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, Field

from understudy.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Event", "EventGap"]


class Event(Message):
    """Something that has happened, for whoever wants to know; subclass it and add fields.

    ::

        class OrderPaid(Event):
            order: int
            cents: int

        bus.publish_nowait(OrderPaid(order=17, cents=4200))

    An event is frozen, and the bus never changes one: what subscribers get is a copy that says where and when it was
    published. The same object may be published again, also to another bus.
    """

    id: str = ""
    """Unique; given when it is first published, and kept when the copy is published again."""
    session_id: str = ""
    """That of the bus on which it was published last."""
    sequence: int = Field(default=0, ge=0)
    """1, 2, 3, ...: the place among the events of the bus; 0 before it is published."""
    time: float = 0.0
    """When it was published, in seconds since 1970 (UTC), by a clock that may be set; the order is ``sequence``."""
    source: str | None = None
    """Who published it: what it says itself, else the path of the actor in whose ``async def`` handler that was."""

    _understudy_plain: ClassVar[bool] = True
    """Whether a copy is nothing but the fields, as far as the class goes."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls._understudy_plain = cls.model_copy is BaseModel.model_copy and cls.__copy__ is BaseModel.__copy__

    def _understudy_stamped(
        self, identity: str, session_id: str, sequence: int, time: float, source: str | None
    ) -> Self:
        """A copy with those fields changed; not validated again: what the publisher made is valid, and so is this.

        It is what ``model_copy`` does, for less where nobody has anything else in mind.
        """
        if (
            not self._understudy_plain
            or self.__pydantic_extra__ is not None
            or getattr(self, "__pydantic_private__", None) is not None
        ):
            stamp = {"id": identity, "session_id": session_id, "sequence": sequence, "time": time, "source": source}
            return self.model_copy(update=stamp)
        copied: Self = _new(type(self))
        fields = self.__dict__.copy()
        fields["id"] = identity
        fields["session_id"] = session_id
        fields["sequence"] = sequence
        fields["time"] = time
        fields["source"] = source
        _put(copied, "__dict__", fields)
        _put(copied, "__pydantic_fields_set__", self.__pydantic_fields_set__ | _STAMP)
        _put(copied, "__pydantic_extra__", None)
        _put(copied, "__pydantic_private__", None)
        return copied


_new: Callable[[type[Any]], Any] = object.__new__
_put = object.__setattr__
_STAMP = {"id", "session_id", "sequence", "time", "source"}


class EventGap(Event):
    """For a subscriber that has resumed too late: events from *first_missed* to *last_missed* are not kept any more.

    They are those of its topic that may have been among them: some of these numbers may belong to other topics.
    """

    first_missed: int
    """The ``sequence`` behind the one that was given as ``after=``."""
    last_missed: int
    """The ``sequence`` of the latest that is not kept any more."""
