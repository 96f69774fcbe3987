"""The page of a person, without a browser: who may speak, what is replayed, and what it may not do to others."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import logging
import socket
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.agents.chat_stage import GUARD, TOKEN, Chat, chat, end_of, say_hello
from tests.transports.certificates import Authority
from understudy import ActorSystem, InvalidContext, InvalidSpec, child
from understudy.agents import (
    Decide,
    HumanAgent,
    ListPending,
    Prompt,
    Say,
    WebEndpoint,
)
from understudy.testing._leaks import open_descriptors

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

FILES = ["/", "/page.css", "/page.js", "/link.js", "/view.js", "/icon.svg"]
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]


# Who may speak


async def test_without_the_token_there_are_the_files_of_the_page_and_nothing_else() -> None:
    paths = [*FILES, "/socket", "/nothing", "/page.js/", "//", "/socket/x"]
    async with chat() as there:
        for method, path in itertools.product(VERBS, paths):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"token={TOKEN}"}, {"X-Token": TOKEN}):
                answer = await there.request(method, path, headers)
                free = path in FILES and method in ("GET", "HEAD")
                assert answer.status == (200 if free else 401), (method, path, headers)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (await there.request("GET", "/nothing", bearer)).status == 404
        assert (await there.request("POST", "/", bearer)).status == 405
        # A URL is written down in too many places.
        assert (await there.request("GET", f"/?token={TOKEN}")).status == 400


async def test_the_page_allows_no_script_but_its_own_and_has_no_secret() -> None:
    async with chat() as there:
        for path in FILES:
            answer = await there.request("GET", path)
            policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers
            assert TOKEN not in answer.text
            assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("://${location.host}", "")
            assert " style=" not in answer.text
        page = (await there.request("GET", "/")).text
        assert page.count("<script") == page.count('<script src="page.js"') == 1


async def test_host_and_origin_are_checked_on_every_path() -> None:
    async with chat(origins=("https://desk.example",)) as there:
        hosts = {f"127.0.0.1:{there.port}": True, f"localhost:{there.port}": True, "127.0.0.1": False,
                 f"evil.example:{there.port}": False, f"127.0.0.1:{there.port}.evil.example": False}  # fmt: skip
        origins = {None: True, f"http://127.0.0.1:{there.port}": True, f"http://localhost:{there.port}": True,
                   "https://desk.example": True, "http://desk.example": False, "null": False,
                   "http://127.0.0.1:1": False, "https://evil.example": False}  # fmt: skip
        for path in (*FILES, "/socket", "/nothing"):
            for (host, known), (origin, welcome) in itertools.product(hosts.items(), origins.items()):
                headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"} | ({"Origin": origin} if origin else {})
                answer = await there.request("GET", path, headers)
                expected = 200 if path in FILES else 404
                expected = expected if welcome else HTTPStatus.FORBIDDEN
                assert answer.status == (expected if known else HTTPStatus.MISDIRECTED_REQUEST), (path, host, origin)


async def refused(there: Chat, *, path: str = "/socket", **options: Any) -> int:
    with pytest.raises(InvalidStatus) as caught:
        async with there.socket(path=path, **options):
            pytest.fail("it was let in")
    return caught.value.response.status_code


async def test_a_web_socket_is_only_for_the_page_itself() -> None:
    async with chat() as there:
        assert await refused(there, origin="https://evil.example") == 403
        assert await refused(there, origin="null") == 403
        assert await refused(there, path="/") == 401
        assert await refused(there, path="/other") == 401
        assert await refused(there, path=f"/socket?token={TOKEN}") == 400
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert await refused(there, path="/other", additional_headers=bearer) in (403, 404)
        async with there.socket(origin=f"http://localhost:{there.port}") as ws:
            await say_hello(ws)
            assert json.loads(await ws.recv())["kind"] == "welcome"


FIRST: list[tuple[str | bytes, int]] = [
    ('{"kind": "hello", "token": "wrong"}', 4401),
    ('{"kind": "hello", "token": ""}', 4401),
    ('{"kind": "hello", "token": "ä"}', 4401),
    ('{"kind": "hello"}', 4400),
    (f'{{"kind": "hello", "token": "{TOKEN}", "after": -1}}', 4400),
    (f'{{"kind": "hello", "token": "{TOKEN}", "after": 1.5}}', 4400),
    (f'{{"kind": "hello", "token": "{TOKEN}", "more": 1}}', 4400),
    (f'{{"kind": "hello", "token": "{TOKEN}", "token": "{TOKEN}"}}', 4400),
    ('{"kind": "say", "id": "1", "text": "hi"}', 4400),
    (f"{TOKEN}", 4400),
    ("[" * 1000, 4400),
    ("", 4400),
    (b"\x00", 4400),
    ("x" * 70_000, 1009),
]


async def test_who_does_not_begin_with_the_token_hears_nothing() -> None:
    async with chat() as there:
        there.nina.tell(Say(text="a secret"))
        for first, code in FIRST:
            async with there.socket() as ws:
                await ws.send(first)
                assert await end_of(ws) == ([], code), first


async def test_who_does_not_say_who_it_is_in_time_is_closed() -> None:
    async with chat(hello_timeout=0.1) as there, there.socket() as ws:
        assert await end_of(ws) == ([], 4408)


async def test_many_who_say_nothing_keep_no_honest_page_out() -> None:
    loop = asyncio.get_running_loop()
    async with chat(hello_timeout=20.0) as there:
        # In a thread, or nobody would accept them.
        sockets = await asyncio.to_thread(
            lambda: [socket.create_connection(("127.0.0.1", there.port)) for _ in range(500)]
        )
        try:
            for each in sockets:
                each.sendall(b"GET /socket HTTP/1.1\r\nHost: 127")
            async with there.tab():
                pass  # behind all of them
            for each in sockets:
                with contextlib.suppress(OSError):  # it was dropped
                    each.sendall(b".0")
            before = loop.time()
            async with there.tab() as tab:
                assert tab.welcome["kind"] == "welcome"
            assert loop.time() - before < 1.0
        finally:
            for each in sockets:
                each.close()


async def test_of_those_who_open_a_web_socket_and_say_nothing_the_oldest_makes_room() -> None:
    async with chat(hello_timeout=600.0) as there, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(there.socket()) for _ in range(40)]
        async with there.tab() as tab:
            assert tab.welcome["kind"] == "welcome"
        assert [await end_of(ws) for ws in silent[:8]] == [([], 4408)] * 8
        assert silent[-1].close_code is None


async def test_there_are_no_more_tabs_than_allowed() -> None:
    async with chat(max_connections=2) as there:
        async with there.tab(), there.tab(), there.socket() as third:
            await say_hello(third)
            assert await end_of(third) == ([], 4429)
        async with there.tab() as later:
            assert later.welcome["kind"] == "welcome"


# What is told


async def test_the_page_shows_what_was_said_before_and_streams_what_is_said_now() -> None:
    async with chat() as there:
        there.nina.tell(Say(text="<img src=x onerror=alert(1)>", speaker="<b>"))
        async with there.tab() as tab:
            assert (await tab.kind("said"))["text"] == "<img src=x onerror=alert(1)>"
            assert await tab.act("say", id="1", text="count to 3") == {
                "kind": "done",
                "id": "1",
                "ok": True,
                "text": "",
            }
            over = await tab.kind("turn_ended")
            assert over["text"] == "1 2 3"
            assert [each["text"] for each in tab.deliveries if each["kind"] == "text"] == ["1", " 2", " 3"]
            assert tab.cursors == list(range(1, len(tab.cursors) + 1))


async def test_what_is_no_unicode_is_told_all_the_same() -> None:
    with capture_logs() as lines:
        async with chat() as there, there.tab() as tab:
            there.nina.tell(Say(text="a\ud800b", speaker="\udfff"))
            said = await tab.kind("said")
            assert (said["text"], said["speaker"]) == ("a\ud800b", "\udfff")
            assert (await tab.act("say", id="1", text="count to 1"))["ok"] is True
    assert [line for line in lines if line["event"] == "crashed"] == []


async def test_a_page_that_comes_back_hears_what_it_has_missed_and_nothing_twice() -> None:
    async with chat() as there:
        there.nina.tell(Say(text="1"))
        async with there.tab() as tab:
            session, after = tab.welcome["session"], (await tab.kind("said"))["cursor"]
        there.nina.tell(Say(text="2"))
        async with there.tab(after=after, session=session) as tab:
            assert tab.welcome["resumed"] is True
            assert (await tab.kind("said"))["text"] == "2"
        for other in ({"session": "another", "after": after}, {"session": session, "after": 1000}):
            async with there.tab(**other) as tab:
                assert tab.welcome["resumed"] is False
                assert (await tab.kind("said"))["text"] == "1"


async def test_what_is_not_kept_any_more_is_a_gap() -> None:
    async with chat(outbox=3) as there:
        for number in range(10):
            there.nina.tell(Say(text=str(number)))
        async with there.tab() as tab:
            last = await tab.until(lambda delivery: delivery.get("text") == "9")
            assert [(each["kind"], each["cursor"]) for each in tab.deliveries] == [
                ("gap", 7), ("said", 8), ("said", 9), ("said", 10)
            ]  # fmt: skip
            assert tab.deliveries[0]["missed"] == 7
            assert last["cursor"] == 10


async def test_behind_a_gap_the_page_hears_what_still_waits_for_the_person() -> None:
    async with chat(outbox=2) as there:
        first, second = [
            asyncio.create_task(there.nina.ask(Prompt(text=text, speaker="clerk"), timeout=GUARD)) for text in "ab"
        ]
        async with there.tab() as tab:
            question = await tab.until(lambda delivery: delivery.get("text") == "b")
            where = {"session": tab.welcome["session"], "after": question["cursor"]}
            assert (await tab.act("answer", id="1", number=1, text="yes"))["ok"] is True
        assert (await first).text == "yes"
        for _ in range(5):
            there.nina.tell(Say(text="a remark"))
        async with there.tab(**where) as tab:
            await tab.kind("said")
            assert tab.deliveries[0]["kind"] == "gap"
            assert tab.open == [{"kind": "open", "questions": [2], "approvals": []}]
            assert (await tab.act("answer", id="2", number=2, text="no"))["ok"] is True
        assert (await second).text == "no"


async def test_a_page_that_does_not_read_is_cut_off_and_holds_nobody_up() -> None:
    async with chat(send_timeout=0.2, outbox=20, max_connections=2) as there:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", there.port))
        async with there.tab() as quick, there.socket(sock=slow) as ws:
            ws.transport.pause_reading()
            await say_hello(ws)
            held = len(open_descriptors())
            number = 0
            async with asyncio.timeout(GUARD):
                while await is_crowded(there):
                    for _ in range(20):
                        number += 1
                        there.nina.tell(Say(text="x" * 20_000, speaker=str(number)))
                        said = await quick.until(lambda delivery: delivery["kind"] == "said")
                        while said["speaker"] != str(number):
                            await quick.take()
                            said = quick.deliveries[-1]
            assert quick.cursors == list(range(1, number + 1))  # and has missed nothing
            async with asyncio.timeout(GUARD):  # its socket does not wait for it to read on
                while len(open_descriptors()) >= held:  # noqa: ASYNC110 - nobody tells of that
                    await asyncio.sleep(0.05)
            ws.transport.abort()
        async with there.tab() as again:
            assert (await again.kind("gap"))["missed"] == number - 20


async def is_crowded(there: Chat) -> bool:
    """Whether there are as many tabs as may be."""
    async with there.socket() as ws:
        await say_hello(ws)
        try:
            await ws.recv()
        except ConnectionClosed:
            return ws.close_code == 4429
        ws.transport.abort()  # it would wait for the rest to be read
    return False


# What is done


async def test_a_person_answers_a_question_in_any_tab_and_all_see_it() -> None:
    async with chat() as there, there.tab() as one, there.tab() as two:
        asking = asyncio.create_task(there.nina.ask(Prompt(text="How many?", speaker="clerk"), timeout=GUARD))
        question = await one.kind("question")
        assert question["text"] == "How many?"
        assert (await one.act("answer", id="1", number=question["number"], text="five"))["ok"] is True
        assert (await asking).text == "five"
        assert (await two.kind("question_closed"))["text"] == "five"
        late = await two.act("answer", id="2", number=question["number"], text="six")
        assert late["ok"] is False
        assert "answered" in late["text"]


async def test_an_approval_is_decided_once_whoever_is_first() -> None:
    async with chat() as there, there.tab() as one, there.tab() as two:
        await one.send("say", id="1", text="blow up the castle")
        request = await two.kind("approval")
        assert request["request"]["arguments"] == '{"what": "the castle"}'
        decided = await one.act("decide", id="2", number=request["number"], approve=False, comment="it is listed")
        assert decided["ok"] is True
        late = await two.act("decide", id="3", number=request["number"], approve=True)
        assert late == {"kind": "done", "id": "3", "ok": False, "text": "it had been rejected by team/nina before"}
        for tab in (one, two):
            decision = (await tab.kind("approval_decided"))["decision"]
            assert decision == {"status": "rejected", "by": "team/nina", "comment": "it is listed"}
            assert (await tab.kind("tool_ended"))["status"] == "denied"
        # And through another channel.
        await one.send("say", id="4", text="blow up the tower")
        await one.until(lambda delivery: delivery["kind"] == "approval" and delivery["number"] != request["number"])
        approvals: Any = there.system.lookup("team/approvals")
        (pending,) = await approvals.ask(ListPending())
        await approvals.ask(Decide(number=pending.number, approve=True, by="otto"))
        closed = await two.until(lambda delivery: delivery.get("number") == pending.number and "decision" in delivery)
        assert closed["decision"]["by"] == "otto"


async def test_an_act_that_is_said_again_is_done_once() -> None:
    async with chat() as there:
        async with there.tab() as tab:
            await tab.send("say", id="one", text="first")
            await tab.send("say", id="one", text="first")
        async with there.tab() as tab:
            assert (await tab.act("say", id="one", text="first"))["ok"] is True
            assert (await tab.act("say", id="two", text="second"))["ok"] is True
            await tab.until(lambda delivery: delivery["kind"] == "turn_ended" and "second" in delivery["text"])
            assert [each["text"] for each in tab.deliveries if each["kind"] == "turn_started"] == ["first", "second"]


async def test_what_is_said_during_a_turn_waits_and_an_interrupt_does_not() -> None:
    async with chat(pace=60.0) as there, there.tab() as tab:
        assert (await tab.act("say", id="1", text="count to 1000"))["ok"] is True
        for number in range(2, 60):
            await tab.send("say", id=str(number), text="more")
        for number in range(34, 60):
            assert "too much waits" in (await tab.outcome(str(number)))["text"]
        assert [each["kind"] for each in tab.deliveries if each["kind"] == "turn_started"] == ["turn_started"]


async def test_an_interrupt_ends_the_turn_that_is_under_way() -> None:
    async with chat(pace=60.0) as there, there.tab() as tab:
        assert (await tab.act("interrupt", id="1"))["ok"] is True
        await tab.act("say", id="2", text="count to 1000")
        assert (await tab.act("interrupt", id="3"))["ok"] is True
        assert (await tab.kind("turn_ended"))["status"] == "interrupted"


async def test_a_turn_that_fails_is_told_and_the_page_goes_on() -> None:
    async with chat() as there, there.tab() as tab:
        await tab.act("say", id="1", text="fail")
        over = await tab.kind("turn_ended")
        assert over["status"] == "failed"
        assert (await tab.act("say", id="2", text="count to 1"))["ok"] is True


NO_ACTS: list[str | bytes] = [
    '{"kind": "hello", "token": "x"}',
    '{"kind": "say", "text": "no id"}',
    '{"kind": "say", "id": "", "text": "x"}',
    '{"kind": "say", "id": "1", "text": ""}',
    '{"kind": "answer", "id": "1", "number": "1", "text": "x"}',
    '{"kind": "decide", "id": "1", "number": 1, "approve": 1}',
    '{"kind": "decide", "id": "1", "number": 1, "approve": "yes"}',
    '{"kind": "decide", "id": "1", "number": 1e99, "approve": true}',
    '{"kind": "interrupt", "id": "1", "extra": NaN}',
    '{"kind": "stop", "id": "1"}',
    '{"kind": "say", "id": "1", "text": "\\ud800"}',
    "null",
    b"{}",
]


async def test_what_is_no_act_ends_that_connection_only() -> None:
    async with chat() as there, there.tab() as other:
        for frame in NO_ACTS:
            async with there.tab() as tab:
                await tab.ws.send(frame)
                assert (await end_of(tab.ws))[1] == 4400, frame
        assert (await other.act("say", id="1", text="count to 1"))["ok"] is True


# Its life


async def test_the_page_comes_back_at_the_same_address_with_its_agent() -> None:
    async with chat() as there:
        address = there.page.address
        assert address == f"http://127.0.0.1:{there.port}/#token={TOKEN}"
        there.nina.tell(Say(text="1"))
        async with there.tab() as tab:
            after = (await tab.kind("said"))["cursor"]
            assert (await tab.act("say", id="a", text="count to 1"))["ok"] is True
            await tab.kind("turn_ended")
            there.crash()
            assert (await end_of(tab.ws))[1] in (1001, 1012)
        async with asyncio.timeout(GUARD):
            while True:
                try:
                    async with there.tab(after=after, session=tab.welcome["session"]) as again:
                        assert again.welcome["resumed"] is True
                        assert (await again.act("say", id="a", text="count to 1"))["ok"] is True
                        await again.kind("turn_ended")
                        assert [each["kind"] for each in again.deliveries].count("turn_started") == 1
                        break
                except OSError:
                    await asyncio.sleep(0.01)  # its address is the one of before, and so it is not announced again
        assert there.page.address == address


async def test_a_bug_at_the_seat_fails_the_agent_and_is_no_secret_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, number: int, text: str) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(HumanAgent, "take_answer", broken)
    with capture_logs() as lines:
        async with chat() as there, there.tab() as tab:
            done = await tab.act("answer", id="1", number=1, text="x")
            assert done["ok"] is False
            assert (await end_of(tab.ws))[1] in (1001, 1012)
    assert [line["reason"] for line in lines if line["event"] == "crashed"] == ["crashed: KeyError: 'a bug'"]


async def test_its_end_is_in_order_and_soon_also_with_a_page_that_does_not_read() -> None:
    loop = asyncio.get_running_loop()
    async with chat() as there, there.tab() as tab, there.tab() as deaf:
        deaf.ws.transport.pause_reading()
        for _ in range(20):
            there.nina.tell(Say(text="x" * 50_000))
        before = loop.time()
        there.system.stop()
        await there.system.wait_stopped()
        assert loop.time() - before < 4.0
        assert (await end_of(tab.ws))[1] in (1001, 1012)
        deaf.ws.transport.abort()


async def test_the_token_is_found_nowhere_but_in_the_address() -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with capture_logs() as lines:
            async with chat() as there:
                async with there.tab() as tab:
                    await tab.act("say", id="1", text="count to 1")
                    await tab.ws.send("nonsense")
                    await end_of(tab.ws)
                for first in (f'{{"kind": "hello", "token": "{TOKEN}", "x": 1}}', TOKEN):
                    async with there.socket() as ws:
                        await ws.send(first)
                        await end_of(ws)
                for path in (f"/?token={TOKEN}", f"/{TOKEN}", f"/socket?token={TOKEN}"):
                    assert TOKEN not in (await there.request("GET", path)).text
                assert await refused(there, path=f"/socket?token={TOKEN}") == 400
                assert TOKEN not in repr(there.page) + there.page.url
                assert TOKEN not in str(there.system.tree())
                there.crash()
                await asyncio.sleep(0.1)  # for what a restart writes down; nothing tells of the last of that
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "connection is CONNECTING" in said.getvalue()  # so the library would have written down frames
    assert TOKEN not in said.getvalue()
    assert TOKEN not in str(lines)


# What has to stand before it listens


async def test_it_is_reached_by_others_only_with_a_token_and_tls() -> None:
    for options in ({}, {"token": TOKEN}, {"certificate": "a", "key": "b"}):
        with pytest.raises(InvalidSpec, match="is reached by others"):
            WebEndpoint(host="0.0.0.0", **options)
    with pytest.raises(InvalidSpec, match="16 or more"):
        WebEndpoint(token="short")
    with pytest.raises(InvalidSpec, match="from 0 to 65535"):
        WebEndpoint(port=65_536)
    with pytest.raises(InvalidSpec, match="max_connections"):
        WebEndpoint(max_connections=0)


async def test_a_token_is_made_where_none_was_given_and_each_page_has_another() -> None:
    announced: asyncio.Queue[str] = asyncio.Queue()
    tokens: list[str] = []
    for _ in range(2):
        async with ActorSystem() as system:
            await system.spawn(HumanAgent, WebEndpoint(announce=announced.put_nowait))
            async with asyncio.timeout(GUARD):
                tokens.append((await announced.get()).partition("#token=")[2])
    assert len(set(tokens)) == len(tokens) == 2
    assert all(len(token) == 48 for token in tokens)
    assert announced.empty()


async def test_it_is_reached_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.tls("desk")
    async with chat(certificate=tls.certificate, key=tls.key) as there:
        assert there.page.url.startswith("https://")
        context = authority.tls("x", ca=authority.ca).for_client()
        async with there.socket(scheme="wss", ssl=context, origin=f"https://127.0.0.1:{there.port}") as ws:
            await say_hello(ws)
            assert json.loads(await ws.recv())["kind"] == "welcome"


async def test_a_page_is_for_one_person_and_has_no_address_before_it_is_served() -> None:
    page = WebEndpoint()
    with pytest.raises(InvalidContext, match="no address before its agent has started"):
        _ = page.address
    with capture_logs():
        async with ActorSystem() as system:
            await system.spawn(HumanAgent, page)
            async with asyncio.timeout(GUARD):
                second = await system.spawn(child(HumanAgent, page).options(restart="temporary"))
                assert "it serves somebody already: make one for each person" in str(await second.wait_stopped())


async def test_a_port_that_is_taken_fails_the_agent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = WebEndpoint(port=taken.getsockname()[1])
        with capture_logs() as lines:
            async with ActorSystem() as system:
                ref = await system.spawn(child(HumanAgent, page).options(restart="temporary"))
                async with asyncio.timeout(GUARD):
                    reason = await ref.wait_stopped()
    assert "Address already in use" in str(reason)
    assert [line["event"] for line in lines if line["event"] == "crashed"]
