"""What went wrong in an earlier web page for people, and must not again.

E4: its server gave out any file by ``path``, asked nobody who he was, and stood still when one client was slow.
"""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from tests.agents.chat_stage import TOKEN, chat, end_of, say_hello
from understudy.agents import Say

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

PATHS = [
    "/../__init__.py",
    "/../../../../../../../../etc/passwd",
    "/page.js/../../_agent.py",
    "/%2e%2e/_agent.py",
    "/..%2f_agent.py",
    "/..%5c_agent.py",
    "/.%00./_agent.py",
    "/%2fetc%2fpasswd",
    "//etc/passwd",
    "/etc/passwd",
    "/_chat_server.py",
    "/index.html",
    "/?path=/etc/passwd",
    "/page.js?path=../_agent.py",
    "/file?path=/etc/passwd",
]


async def test_no_path_leads_to_a_file_that_is_not_one_of_the_page() -> None:
    async with chat() as there:
        for path in PATHS:
            assert (await there.request("GET", path)).status in (400, 401), path
            answer = await there.request("GET", path, {"Authorization": f"Bearer {TOKEN}"})
            assert answer.status in (400, 404), path
            assert "root:" not in answer.text
            assert "import" not in answer.text


async def test_nobody_sees_or_says_anything_who_has_not_the_token() -> None:
    async with chat() as there:
        there.nina.tell(Say(text="a secret"))
        for act in (
            {"kind": "say", "id": "1", "text": "x"},
            {"kind": "decide", "id": "1", "number": 1, "approve": True},
        ):
            async with there.socket() as ws:
                await ws.send(json.dumps(act))
                assert await end_of(ws) == ([], 4400)
            async with there.socket() as ws:
                await say_hello(ws, token="a wrong one, of 16 characters")
                await ws.send(json.dumps(act))
                assert await end_of(ws) == ([], 4401)
        async with there.tab() as tab:
            await tab.act("interrupt", id="1")
            assert [each["kind"] for each in tab.deliveries] in ([], ["said"])  # nothing was said or begun


async def test_slow_clients_of_all_kinds_hold_nobody_up() -> None:
    async with chat(send_timeout=20.0) as there:
        halves = [b"", b"GET / HTTP/1.1\r\n", b"GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n" * 50]
        loop = asyncio.get_running_loop()
        slow = [socket.create_connection(("127.0.0.1", there.port)) for _ in halves]
        for each, half in zip(slow, halves, strict=True):
            each.setblocking(False)
            await loop.sock_sendall(each, half)
        async with there.socket() as deaf, there.tab() as tab:
            deaf.transport.pause_reading()
            await say_hello(deaf)
            before = loop.time()
            for number in range(200):
                there.nina.tell(Say(text="x" * 20_000, speaker=str(number)))
            await tab.until(lambda delivery: delivery.get("speaker") == "199")
            assert (await tab.act("say", id="1", text="count to 3"))["ok"] is True
            assert (await there.request("GET", "/page.js")).status == 200
            assert loop.time() - before < 5.0
            deaf.transport.abort()
        for each in slow:
            each.close()
