"""What a failure means, by the type of the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Directive", "OnFailure", "check_on_failure", "directive_for"]

Directive: TypeAlias = Literal["restart", "resume", "stop", "escalate"]
OnFailure: TypeAlias = "Mapping[type[BaseException], Directive]"


def directive_for(rules: OnFailure, error: BaseException) -> Directive:
    """What the most specific rule says: the nearest class of *error* that has one; without any, ``"restart"``."""
    for base in type(error).__mro__:
        found = rules.get(base)
        if found is not None:
            return found
    return "restart"


def check_on_failure(value: object, child: str) -> OnFailure:
    """*value*, if it maps classes of exceptions to directives."""
    rules = cast("Mapping[object, object]", value) if hasattr(value, "items") else None
    if rules is None:
        problem = f"must map exception classes to directives, as in {{ValueError: 'resume'}}, got {value!r}"
        raise InvalidSpec(child=child, field="on_failure", problem=problem)
    allowed = get_args(Directive)
    for kind, directive in rules.items():
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            problem = f"must map exception classes to directives, got the key {kind!r}"
            raise InvalidSpec(child=child, field="on_failure", problem=problem)
        if directive not in allowed:
            problem = f"must be {', '.join(map(repr, allowed))} for {kind.__name__}, got {directive!r}"
            raise InvalidSpec(child=child, field="on_failure", problem=problem)
    return dict(cast("OnFailure", rules))
