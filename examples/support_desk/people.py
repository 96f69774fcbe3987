"""The supervisor, as she is here: a person at whose place functions answer."""

from __future__ import annotations

import json

from understudy.agents import ApprovalOpened, CallbackEndpoint, QuestionOpened

__all__ = ["supervisor_at_her_desk"]

_MOST = 50.0
"""Euros that she lets go without a second look."""


def answer(question: QuestionOpened) -> str:
    return "Give them a voucher of 10 EUR, and my regards."


def approve(wanted: ApprovalOpened) -> bool | None:
    """Small sums are fine; of large ones she says nothing, and whoever is at the terminal has to decide."""
    euros = json.loads(wanted.request.arguments).get("euros", 0.0)
    return True if euros <= _MOST else None


def supervisor_at_her_desk() -> CallbackEndpoint:
    """Where she sits. A page or a terminal would take the same place."""
    return CallbackEndpoint(answer, approval=approve)
