"""The page of a person in a real browser, without a window.

They need Debian's ``chromium`` (or what ``UNDERSTUDY_CHROMIUM`` names) and playwright, and are skipped where these are
not, unless ``UNDERSTUDY_BROWSER=required`` says that this would be an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.agents.chat_stage import CRASH, GUARD, TOKEN, Chat, chat
from tests.cli.test_chat_page import chatting, end
from understudy.agents import NotInteractive, Prompt, Say

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"

pytestmark = pytest.mark.browser


def absent(what: str) -> None:
    if os.environ.get("UNDERSTUDY_BROWSER") == "required":
        pytest.fail(f"{what} is not here, and UNDERSTUDY_BROWSER=required", pytrace=False)
    pytest.skip(f"{what} is not here")  # a browser comes with no package of ours: see above


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("UNDERSTUDY_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        absent("chromium")
    if find_spec("playwright") is None:
        absent("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield launched
        launched.close()


class Theatre:
    """The program behind the page, in a thread of its own, as the browser's interface has a loop in this one."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._up: Future[Chat] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._play()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.chat = self._up.result(GUARD)
        self.address = self.chat.page.address
        self.origin = self.chat.page.url.rstrip("/")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join(GUARD)
        assert not self._thread.is_alive()

    def tell(self, text: str, speaker: str = "clerk") -> None:
        """Have somebody say something to the person."""
        self._loop.call_soon_threadsafe(lambda: self.chat.nina.tell(Say(text=text, speaker=speaker)))

    def ask(self, text: str, speaker: str = "clerk") -> Future[Any]:
        """Have somebody ask the person."""

        async def ask() -> Any:
            return await self.chat.nina.ask(Prompt(text=text, speaker=speaker), timeout=GUARD)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop)

    async def _play(self) -> None:
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with chat(**self._options) as there:
                self._up.set_result(there)
                await self._left.wait()
        except Exception as error:
            if not self._up.done():
                self._up.set_exception(error)
            raise


@pytest.fixture
def there() -> Iterator[Theatre]:
    with Theatre() as theatre:
        yield theatre


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1000, "height": 800}) as made:
        made.set_default_timeout(GUARD * 1000)
        yield made


@pytest.fixture
def complaints(context: BrowserContext) -> list[str]:
    """What the browser complains of."""
    found: list[str] = []
    context.on("console", lambda message: found.append(message.text))
    context.on("weberror", lambda failed: found.append(str(failed.error)))
    return found


def open_page(context: BrowserContext, address: str) -> Page:
    """A tab with the page, which is connected."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#state[data-state=open]")
    return page


def say(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def entries(page: Page) -> list[str]:
    """What the log says, entry by entry."""
    return [re.sub(r"\n+", "\n", each) for each in page.locator("#log > li").all_inner_texts()]


def wait_for(page: Page, text: str, times: int = 1) -> None:
    """Wait until the log says *text*, so many times."""
    page.locator("#log").get_by_text(text, exact=True).nth(times - 1).wait_for()


def test_a_conversation_is_shown_as_it_is_spoken_and_what_is_said_is_only_text(
    there: Theatre, context: BrowserContext, complaints: list[str]
) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    there.tell(HOSTILE, speaker=HOSTILE)
    page = open_page(context, there.address)
    assert page.url == there.chat.page.url  # without the token
    assert page.title() == "team/nina"
    say(page, "count to 3")
    wait_for(page, "1 2 3")
    say(page, HOSTILE)
    wait_for(page, f"You said: {HOSTILE}")
    assert entries(page) == [
        f"{HOSTILE}\n{HOSTILE}",
        "You\ncount to 3",
        "team/guide\n1 2 3",
        f"You\n{HOSTILE}",
        f"team/guide\nYou said: {HOSTILE}",
    ]
    assert page.title() == "team/nina"
    assert page.locator("img, #log script").count() == 0
    page.get_by_label("Your message").type("one\ntwo", delay=0)  # Enter has sent the first
    page.keyboard.press("Shift+Enter")
    assert page.get_by_label("Your message").input_value() == "two\n"
    # The token is in the memory of this tab, and nowhere else.
    assert TOKEN not in page.content()
    assert context.cookies() == []
    assert page.evaluate("() => localStorage.length") == 0
    assert TOKEN not in page.evaluate("() => document.referrer + history.state + location.href")
    assert all(url.startswith((there.origin, there.origin.replace("http", "ws"))) for url in asked), asked
    assert not any(TOKEN in url.partition("#")[0] for url in asked)
    assert complaints == []


def test_what_waits_for_the_person_is_answered_by_keyboard_and_vanishes_everywhere(
    there: Theatre, context: BrowserContext, complaints: list[str]
) -> None:
    page, other = open_page(context, there.address), open_page(context, there.address)
    answer = there.ask(f"How many? {HOSTILE}")
    box = page.get_by_label("Your answer to clerk")
    box.wait_for()
    assert page.title() == "(1) team/nina"
    page.wait_for_selector(".card fieldset:enabled")  # it cannot be hit at once, by a click that was meant for another
    page.get_by_label("Your message").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Your answer to clerk"
    page.keyboard.type("five")
    page.keyboard.press("Enter")
    assert answer.result(GUARD).text == "five"
    other.get_by_text("You answered").wait_for()
    for tab in (page, other):
        tab.locator("#waiting").wait_for(state="hidden")
    assert page.evaluate("() => document.activeElement.id") == "text"  # one can go on

    say(page, "blow up the \u202e\u00ad\u200b\ufe0f\u3164castle 🏰é")
    comment = page.get_by_label("Comment, if you like")
    comment.wait_for()
    # What would be hidden in what is to be decided is written out.
    assert page.locator("pre").inner_text() == '{"what": "the \\u202e\\u00ad\\u200b\\ufe0f\\u3164castle 🏰é"}'
    comment.fill("it is listed")
    comment.press("Enter")
    assert page.get_by_role("button", name="Approve").is_enabled()  # Enter decides nothing
    page.get_by_role("button", name="Reject").press("Enter")
    for tab in (page, other):
        wait_for(tab, "Done.")
        wait_for(tab, "team/guide wants to use blow_up: rejected by team/nina: it is listed")
        wait_for(tab, "blow_up: denied")
    say(other, "blow up the tower")
    page.get_by_role("button", name="Approve").click()
    for tab in (page, other):
        wait_for(tab, "Done.", times=2)
        wait_for(tab, "blow_up: ok")
        tab.locator("#waiting").wait_for(state="hidden")
    assert complaints == []


def test_a_question_that_was_refused_is_shown_as_refused_and_one_that_was_given_up_as_that(
    there: Theatre, context: BrowserContext
) -> None:
    refused, given_up = "The question was refused, as nobody was there", "Nobody waits for the answer any more"
    page = open_page(context, there.address)
    answer = there.ask("five?")
    page.get_by_label("Your answer to clerk").wait_for()
    answer.cancel()
    wait_for(page, given_up)
    assert entries(page) == ["clerk asks\nfive?", given_up]
    with Theatre(interactive=False) as away:
        page = open_page(context, away.address)
        with pytest.raises(NotInteractive):
            away.ask("six?").result(GUARD)
        wait_for(page, refused)
        assert entries(page) == ["clerk asks\nsix?", refused]
        assert page.locator(".card").count() == 0


def test_a_page_comes_back_by_itself_and_shows_nothing_twice(there: Theatre, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(there.address)
    there.tell("before")
    wait_for(page, "before")
    there.tell(CRASH)
    page.wait_for_selector("#state:not([data-state=open])")
    there.tell("meanwhile")
    say(page, "count to 2")
    page.wait_for_selector("#state[data-state=open]")
    wait_for(page, "1 2")
    assert [each for each in entries(page) if "Nobody is there" not in each] == [
        "clerk\nbefore",
        "clerk\nmeanwhile",
        "You\ncount to 2",
        "team/guide\n1 2",
    ]
    assert page.locator("#pending > li").count() == 0
    page.reload()  # which begins anew, with the token of before
    wait_for(page, "1 2")
    assert len(entries(page)) == 4


def test_without_the_right_token_the_page_asks_for_it(there: Theatre, context: BrowserContext) -> None:
    there.tell("a secret")
    page = context.new_page()
    page.goto(there.chat.page.url)
    box = page.get_by_label("Token")
    assert page.get_by_role("status").first.inner_text() == "Not connected: no token"
    box.fill("wrong")
    box.press("Enter")
    page.get_by_text("Not connected: the token is not the right one").wait_for()
    page.wait_for_timeout(700)  # longer than it would wait to try again
    assert page.locator("#state").get_attribute("data-state") == "unauthorized"
    assert entries(page) == []
    box.fill(TOKEN)
    box.press("Enter")
    wait_for(page, "a secret")
    assert not box.is_visible()
    assert box.input_value() == ""


def test_a_page_of_others_gets_nowhere(there: Theatre, context: BrowserContext) -> None:
    foreign = "http://127.0.0.1:4567"
    context.route(f"{foreign}/**", lambda route: route.fulfill(body="<title>foreign</title>", content_type="text/html"))
    page = context.new_page()
    page.goto(foreign)
    tried = page.evaluate(
        """async ({origin, token}) => {
            const socket = new WebSocket(origin.replace("http", "ws") + "/socket");
            const opened = await new Promise((resolve) => {
                socket.onopen = () => resolve("open");
                socket.onclose = () => resolve("refused");
            });
            const read = await fetch(origin + "/").then(() => "read", () => "refused");
            const told = await fetch(origin + "/", {
                method: "POST", headers: {Authorization: `Bearer ${token}`}
            }).then(() => "told", () => "refused");
            const frame = document.createElement("iframe");
            frame.src = origin + "/";
            document.body.append(frame);
            await new Promise((resolve) => (frame.onload = resolve));
            const inside = (() => { try { return frame.contentDocument?.title ?? "refused"; }
                                    catch { return "refused"; } })();
            return [opened, read, told, inside];
        }""",
        {"origin": there.origin, "token": TOKEN},
    )
    assert tried == ["refused"] * 4


def test_the_browser_holds_the_page_to_its_policy(there: Theatre, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(there.address)
    tried = page.evaluate(
        """async () => {
            const attempt = (what) => { try { what(); return "done"; } catch (error) { return error.name; } };
            const found = [
                attempt(() => (document.body.innerHTML = "<b>x</b>")),
                attempt(() => document.write("x")),
            ];
            const image = new Image();
            found.push(await new Promise((resolve) => {
                image.onload = () => resolve("done");
                image.onerror = () => resolve("refused");
                image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
            }));
            return found;
        }"""
    )
    assert tried == ["TypeError", "TypeError", "refused"]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1000, "light")])
def test_the_page_fits_and_can_be_read(there: Theatre, context: BrowserContext, width: int, scheme: Any) -> None:
    there.tell("a" * 500, speaker="b" * 200)
    there.ask("c" * 300, speaker="d" * 100)
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 640})
    page.emulate_media(color_scheme=scheme)
    page.goto(there.address)
    say(page, "blow up " + "e" * 400)
    page.get_by_role("button", name="Approve").wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => document.documentElement.scrollHeight") <= 640
    names = page.evaluate(
        """() => [...document.querySelectorAll("button, textarea, input")].filter((each) => each.checkVisibility())
            .map((each) => each.getAttribute("aria-label") || each.labels?.[0]?.textContent || each.textContent)"""
    )
    assert all(names)
    assert len(names) >= 7
    dim = page.evaluate(CONTRAST)
    assert dim == [], "too little contrast"


def test_the_command_serves_the_page_that_its_address_opens(context: BrowserContext, complaints: list[str]) -> None:
    with chatting() as (process, address):
        page = open_page(context, address)
        assert page.title() == "desk/desk/clerk"
        say(page, "delete it")
        page.get_by_role("button", name="Approve").click()
        wait_for(page, "so it is ok")
        assert complaints == []
        assert end(process)[0] == 0
        page.get_by_text("Reconnecting").wait_for()


CONTRAST = """() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
        .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
        .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (each) => {
        for (let at = each; at; at = at.parentElement) {
            const color = numbers(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const seen = [...document.querySelectorAll("h1, h2, h3, p, li, pre, button, textarea, input")];
    return seen.filter((each) => each.checkVisibility() && !each.matches(":disabled, .unseen")).filter((each) => {
        const [one, two] = [numbers(getComputedStyle(each).color), behind(each)].map(light).sort((a, b) => b - a);
        return (one + 0.05) / (two + 0.05) < 4.5;
    }).map((each) => each.outerHTML.slice(0, 100));
}"""


def test_what_is_to_be_decided_is_shown_exactly(there: Theatre, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(there.chat.page.url)
    shown = page.evaluate(
        """async (texts) => { const { readable } = await import("/view.js"); return texts.map(readable); }""",
        [json.dumps(each) for each in EXACT],
    )
    assert shown == list(EXACT.values())


def test_behind_a_gap_nothing_is_shown_as_if_it_still_went_on(there: Theatre, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(there.chat.page.url)
    shown = page.evaluate(
        """async () => {
            const { View } = await import("/view.js");
            const view = new View({});
            const log = () => [...document.querySelectorAll("#log > li")].map((each) => each.textContent);
            view.take({ kind: "turn_started", turn: 1, text: "hello", cursor: 1 });
            view.take({ kind: "text", turn: 1, text: "some", cursor: 2 });
            view.take({ kind: "question", number: 1, text: "how many?", speaker: "clerk", cursor: 3 });
            const asked = { kind: "question", number: 2, text: "and now?", speaker: "clerk", cursor: 5 };
            view.take({ kind: "gap", cursor: 9, missed: 6, waiting: [asked] });
            view.keep({ questions: [2], approvals: [] });
            const lost = [document.querySelectorAll(".busy, [aria-busy]").length, view.interrupt.hidden];
            view.take({ kind: "text", turn: 2, text: "goes on", cursor: 10 });
            const going = [document.querySelectorAll(".busy").length, view.interrupt.hidden];
            return [lost, going, document.querySelectorAll(".card").length, view.cards.has("question 2"), log()];
        }"""
    )
    assert shown == [
        [0, True],
        [1, False],
        1,
        True,
        [
            "Youhello",
            "AnsweringsomeThe rest is not kept any more",
            "clerk askshow many?",
            "6 earlier entries are not kept any more",
            "clerk asksand now?",
            "Answeringgoes on",
        ],
    ]


EXACT = {
    "Schlo\u00df \U0001f3f0 \u4e2d": '"Schloß 🏰 中"',
    "\u202e\u00ad\u200b\ufe0f\u3164\u2003\U000e0041\u0085": r'"\u202e\u00ad\u200b\ufe0f\u3164\u2003\u{e0041}\u0085"',
    "\\u202e": r'"\\u202e"',  # a backslash that was there, and is told from the one above
    "\\\u202e": r'"\\\u202e"',
    '\n\t"\\': r'"\n\t\"\\"',
    "\ud800": r'"\ud800"',
}
"""Texts, and as what they are shown where they stand in JSON."""


def test_the_scripts_of_the_page_put_nothing_into_the_page_but_text() -> None:
    from importlib.resources import files

    folder = files("understudy.agents").joinpath("_chat_page")
    for name in ("page.js", "link.js", "view.js"):
        source = folder.joinpath(name).read_text()
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|\.cookie", source)
        assert found == [], name
