"""The tree: a model, a desk in front of it, and a reader who tries both.

token_stream            restarts whoever fails
    model               answers in a stream of tokens
    desk                gives whole answers, several at a time
    reader              follows streams in every way, then ends the program
"""

from __future__ import annotations

from understudy import ActorFailed, ChildSpec, Supervisor, child

from .actors import Desk, Model, Reader

__all__ = ["TokenStream", "program"]


class TokenStream(Supervisor):
    """See the module."""

    def children(self) -> list[ChildSpec]:
        return [
            child(Model),
            child(Desk).options(on_failure={ActorFailed: "resume"}),  # that the model fails is no failure of the desk
            child(Reader).options(restart="temporary"),
        ]


program = TokenStream
