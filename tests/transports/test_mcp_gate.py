"""Who may speak to a served application: the matrix of Host, Origin and token."""

from __future__ import annotations

import itertools
from http import HTTPStatus

import pytest

from understudy.transports._web_gate import GateRules
from understudy.transports.mcp import HttpBinding

TOKEN = "a token of the tests"
RULES = HttpBinding(token=TOKEN, origins=("https://tools.example",)).rules(8080)

HOSTS = {"127.0.0.1:8080": True, "localhost:8080": True, "[::1]:8080": True, "LOCALHOST:8080": True, None: False,
         "": False, "127.0.0.1": False, "127.0.0.1:80": False, "evil.example:8080": False,
         "127.0.0.1:8080.evil.example": False, "localhost:8080@evil": False}  # fmt: skip
ORIGINS = {None: True, "https://tools.example": True, "https://TOOLS.example": True, "": False, "null": False,
           "http://tools.example": False, "https://tools.example:8443": False, "https://evil.example": False,
           "http://127.0.0.1:8080": False}  # fmt: skip
TOKENS = {f"Bearer {TOKEN}": True, f"bearer {TOKEN}": True, None: False, "": False, TOKEN: False,
          f"Basic {TOKEN}": False, f"Bearer {TOKEN}x": False, f"Bearer {TOKEN[:-1]}": False, "Bearer ": False,
          "Bearer \xff": False}  # fmt: skip


def test_only_all_three_together_open_the_gate() -> None:
    for host, origin, token in itertools.product(HOSTS, ORIGINS, TOKENS):
        given = {b"host": host, b"origin": origin, b"authorization": token}
        refusal = RULES.judge([(name, value.encode("latin-1")) for name, value in given.items() if value is not None])
        expected = None
        if not TOKENS[token]:
            expected = HTTPStatus.UNAUTHORIZED
        if not ORIGINS[origin]:
            expected = HTTPStatus.FORBIDDEN
        if not HOSTS[host]:
            expected = HTTPStatus.MISDIRECTED_REQUEST
        assert (None if refusal is None else refusal.status) == expected, (host, origin, token)


@pytest.mark.parametrize("name", [b"host", b"origin", b"authorization"])
def test_a_header_that_decides_may_not_stand_there_twice(name: bytes) -> None:
    headers = [(b"host", b"localhost:8080"), (b"authorization", f"Bearer {TOKEN}".encode())]
    value = dict(headers).get(name, b"https://tools.example")
    refusal = RULES.judge([*(each for each in headers if each[0] != name), (name, value), (name, value)])
    assert refusal is not None
    assert refusal.status == HTTPStatus.BAD_REQUEST


def test_without_a_token_nobody_is_asked_for_one() -> None:
    assert GateRules(frozenset({"here"}), frozenset()).judge([(b"host", b"here")]) is None


def test_a_service_for_others_is_asked_for_by_its_names() -> None:
    binding = HttpBinding(
        host="0.0.0.0", token=TOKEN, certificate="a", key="b", hosts=("tools.example", "proxy.example:444")
    )
    assert binding.rules(443).hosts == {
        "0.0.0.0:443", "0.0.0.0", "tools.example:443", "tools.example", "proxy.example:444"
    }  # fmt: skip
    assert "127.0.0.1:443" not in binding.rules(443).hosts


def test_behind_a_proxy_the_names_are_those_by_which_clients_know_that() -> None:
    rules = GateRules.at("FE80::A", 8080, encrypted=False, hosts=["Bank.example:443", "[::5]:80", "other.example:444"])
    assert rules.hosts == {
        "[fe80::a]:8080", "bank.example:443", "bank.example", "[::5]:80", "[::5]", "other.example:444"
    }  # fmt: skip
