"""The arguments of constructors on their way: validated by annotations, as a message is by its fields."""

from __future__ import annotations

import inspect
import typing
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError

from understudy.exceptions import InvalidSpec
from understudy.transports._errors import MessageNotAccepted

if TYPE_CHECKING:
    from understudy.actors._actor import Actor
    from understudy.transports._codec import Codec

__all__ = ["Arguments", "arguments_of"]


class Arguments:
    """What the constructor of *actor* takes, as far as it has a form in JSON.

    Raises:
        MessageNotAccepted: A parameter has none.
    """

    def __init__(self, actor: type[Actor[Any]]) -> None:
        self._name = actor.__qualname__
        self._signature = inspect.signature(actor)
        try:
            hints = typing.get_type_hints(actor.__init__)
        except Exception as error:
            raise self._problem(f"an annotation of its constructor cannot be resolved: {error}") from None
        fields: dict[str, Any] = {}
        for number, parameter in enumerate(self._signature.parameters.values()):
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self._problem(f"its constructor takes *{parameter.name}, which others could fill at will")
            required = parameter.default is parameter.empty
            default = Field(alias=parameter.name) if required else Field(default=None, alias=parameter.name)
            fields[f"field_{number}"] = (hints.get(parameter.name, Any), default)
        try:
            model: Any = create_model(f"{self._name}Arguments", __config__=_CONFIG, **fields)
            self._model = model
            self._adapter: TypeAdapter[Any] = TypeAdapter(model)
            self._adapter.json_schema()
        except PydanticUserError as error:
            raise self._problem(f"its constructor takes what has no form in JSON: {error}") from None

    def dump(self, codec: Codec, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The body that says *args* and *kwargs*.

        Raises:
            InvalidSpec: They do not fit.
        """
        try:
            bound = self._signature.bind(*args, **kwargs)
            made = self._model.model_validate(dict(bound.arguments), strict=True)
        except (TypeError, ValidationError) as error:
            problem = f"do not fit {self._name}{self._signature}: {error}"
            raise InvalidSpec(child=self._name, field="arguments", problem=problem) from None
        return codec.dump(self._adapter, made, self._name, exclude_unset=True)

    def load(self, codec: Codec, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What *body* says, to call the class with.

        Raises:
            MessageNotAccepted: It says something else.
        """
        made = codec.load(self._adapter, body, f"the arguments of {self._name}")
        names = list(self._signature.parameters)
        values = [(name, f"field_{number}") for number, name in enumerate(names)]
        given = OrderedDict((name, getattr(made, field)) for name, field in values if field in made.model_fields_set)
        bound = inspect.BoundArguments(self._signature, given)
        return bound.args, bound.kwargs

    def _problem(self, problem: str) -> MessageNotAccepted:
        return MessageNotAccepted(what=self._name, problem=problem)


_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True, frozen=True, serialize_by_alias=True)
_known: dict[type[Any], Arguments] = {}


def arguments_of(actor: type[Actor[Any]]) -> Arguments:
    """What the constructor of *actor* takes; found out once."""
    found = _known.get(actor)
    if found is None:
        found = _known[actor] = Arguments(actor)
    return found
