"""The errors: what each says, what it carries, and that it arrives whole where a copy of it is sent."""

from __future__ import annotations

import builtins
import copy
import importlib
import inspect
import pickle
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest

import understudy
from tests.cast import Hold, Note
from understudy import exceptions
from understudy.agents import (
    AgentUnavailable,
    BudgetExceeded,
    Decision,
    InvalidProgram,
    MCPCallLost,
    MCPToolFailed,
    ModelFailed,
    ModelUnavailable,
    NoSuchApproval,
    NotInMeeting,
    NotInteractive,
    NotYourTurn,
    ProgramFailed,
    ProgramReport,
    QuestionNotOpen,
    SeatClosed,
    StaleState,
    ToolMismatch,
    ToolWithheld,
    TooManyQuestions,
)
from understudy.agents._mcp_session import ToolChanged
from understudy.compat import EventBusClosed, ExecutionFinished
from understudy.exceptions import (
    ActorFailed,
    ActorNotFound,
    ActorStopped,
    AskCycle,
    AskTimeout,
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildError,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ConsumerSlow,
    InvalidActor,
    InvalidContext,
    InvalidSpec,
    InvalidSubscription,
    InvalidTimeout,
    InvalidTransition,
    KeyTaken,
    MailboxFull,
    MissingExtra,
    NameTaken,
    NoReply,
    NotReplaced,
    Refused,
    ReplaceTimeout,
    StartError,
    StartTimeout,
    SystemCollapsed,
    TooManyChildren,
    UnderstudyError,
    Unhandled,
    UsageError,
    WrongActorType,
)
from understudy.mailbox import QueueClosed, QueueEmpty, QueueFull
from understudy.reasons import Crashed, Killed, NodeDown, Normal, RestartsExceeded, Shutdown, StartFailed
from understudy.transports import (
    ConnectionLost,
    HandshakeFailed,
    LeaseReleased,
    LinkDown,
    LinkError,
    MessageNotAccepted,
    PoolClosed,
    PoolTimeout,
    ProtocolError,
    RemoteError,
    UnsafeListener,
    mcp,
)
from understudy.transports._address import NoAddress

CRASHED = Crashed(ValueError("no tone"), (("band.py", 12, "Player.play"), ("horn.py", 3, "blow")))
EXCEEDED = RestartsExceeded("/user/band/horn", CRASHED, 4, 5.0)


@dataclass
class Example:
    """An error, its sentence, and the facts it carries."""

    error: UnderstudyError
    sentence: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.sentence[:40]}"


EXAMPLES = [
    Example(UnderstudyError("all is lost"), "all is lost"),
    Example(
        StartError(path="/user/horn", reason=StartFailed(OSError("no port"))),
        "/user/horn did not start: OSError: no port",
        {"path": "/user/horn", "reason": StartFailed(OSError("no port"))},
    ),
    Example(
        StartError(path="/user/horn", reason=Shutdown("its start was cancelled")),
        "/user/horn did not start: shut down (its start was cancelled)",
        {"path": "/user/horn", "reason": Shutdown("its start was cancelled")},
    ),
    Example(
        StartTimeout(path="/user/horn", seconds=30.0),
        "/user/horn did not start: initialize had not ended after 30 s",
        {"path": "/user/horn", "seconds": 30.0, "reason": Killed()},
    ),
    Example(
        NameTaken(path="/user/horn", ref=None),
        "the name /user/horn is taken: use `ref` of this error, or choose another name",
        {"path": "/user/horn", "ref": None},
    ),
    Example(
        KeyTaken(registry="registry", key=("horn", 1), ref=None),
        "the key ('horn', 1) of registry 'registry' is taken by another actor: use `ref` of this error, or choose "
        "another key",
        {"registry": "registry", "key": ("horn", 1), "ref": None},
    ),
    Example(
        ActorStopped(path="/user/horn", reason=Normal(), message=Note(value=1)),
        "/user/horn has stopped (a normal end) and did not handle Note",
        {"path": "/user/horn", "reason": Normal(), "message": Note(value=1)},
    ),
    Example(
        ActorStopped(path="/user/horn", reason=Killed(first=Shutdown("left"))),
        "/user/horn has stopped (killed while ending (shut down (left)))",
        {"path": "/user/horn", "reason": Killed(first=Shutdown("left")), "message": None},
    ),
    Example(
        ActorFailed(path="/user/horn", message_type="Note", reason=CRASHED),
        "/user/horn failed while handling Note (crashed: ValueError: no tone)",
        {"path": "/user/horn", "message_type": "Note", "reason": CRASHED},
    ),
    Example(Refused("not today"), "not today"),
    Example(
        Unhandled(path="/user/horn", message=Note(value=1)),
        "/user/horn has no handler for Note",
        {"path": "/user/horn", "message": Note(value=1), "remedy": ""},
    ),
    Example(
        Unhandled(path="/user/horn", message=Note(value=1), remedy="it is not answered in parts, use `ask`"),
        "/user/horn has no handler for Note: it is not answered in parts, use `ask`",
        {"path": "/user/horn", "message": Note(value=1), "remedy": "it is not answered in parts, use `ask`"},
    ),
    Example(
        AskTimeout(path="/user/horn", message=Hold(value=1), seconds=2.5, state="accepted, 312 waiting"),
        "/user/horn did not reply to Hold within 2.5 s (accepted, 312 waiting)",
        {"path": "/user/horn", "message": Hold(value=1), "seconds": 2.5, "state": "accepted, 312 waiting"},
    ),
    Example(
        AskCycle(chain=["/user/a", "/user/b", "/user/a"], message=Note()),
        "waiting in a circle (Note): /user/a -> /user/b -> /user/a",
        {"chain": ("/user/a", "/user/b", "/user/a"), "message": Note()},
    ),
    Example(
        AskCycle(chain=["/user/a", "/user/a"]),
        "waiting in a circle: /user/a -> /user/a",
        {"chain": ("/user/a", "/user/a"), "message": None},
    ),
    Example(
        ConsumerSlow(path="/user/horn", message=Note(), seconds=30.0),
        "/user/horn closed the stream of Note: no part was taken within 30 s; take them faster, or raise `timeout=`",
        {"path": "/user/horn", "message": Note(), "seconds": 30.0},
    ),
    Example(
        NotReplaced(path="/user/horn", what="state", problem="ValueError: no tone"),
        "the state of /user/horn was not replaced, and is as it was: ValueError: no tone",
        {"path": "/user/horn", "what": "state", "problem": "ValueError: no tone"},
    ),
    Example(
        ReplaceTimeout(path="/user/horn", what="behaviour", seconds=5, state="handling Hold for 4.8 s, 2 waiting"),
        "the behaviour of /user/horn was not replaced, and is as it was: "
        "no turn within 5 s (handling Hold for 4.8 s, 2 waiting)",
        {
            "path": "/user/horn",
            "what": "behaviour",
            "problem": "no turn within 5 s (handling Hold for 4.8 s, 2 waiting)",
            "seconds": 5,
            "state": "handling Hold for 4.8 s, 2 waiting",
        },
    ),
    Example(
        NoReply(path="/user/horn", message=Note()),
        "/user/horn promised a reply to Note and dropped the promise",
        {"path": "/user/horn", "message": Note(), "reason": None},
    ),
    Example(
        NoReply(path="/user/horn", message=Note(), reason=Shutdown("stopped")),
        "/user/horn promised a reply to Note and ended without one (shut down (stopped))",
        {"path": "/user/horn", "message": Note(), "reason": Shutdown("stopped")},
    ),
    Example(
        MailboxFull(path="/user/horn", capacity=10_000, message=Note()),
        "/user/horn is full (10,000): use `await ref.send(...)`, or set `mailbox=`",
        {"path": "/user/horn", "capacity": 10_000, "message": Note(), "seconds": None},
    ),
    Example(
        MailboxFull(path="/user/horn", capacity=3, message=Note(), seconds=2),
        "/user/horn is full (3): no room for Note within 2 s",
        {"path": "/user/horn", "capacity": 3, "message": Note(), "seconds": 2},
    ),
    Example(
        ChildError(supervisor="/user/band", name="horn"),
        "child 'horn' of /user/band is not in the right state",
        {"supervisor": "/user/band", "name": "horn"},
    ),
    Example(
        ChildAlreadyStarted(supervisor="/user/band", name="horn", ref=None),
        "child 'horn' of /user/band is running already: use `ref` of this error, or another name",
        {"ref": None, "supervisor": "/user/band", "name": "horn"},
    ),
    Example(
        ChildAlreadyPresent(supervisor="/user/band", name="horn"),
        "child 'horn' of /user/band has a spec already and is not running: use restart_child, or delete_child and "
        "start_child",
        {"supervisor": "/user/band", "name": "horn"},
    ),
    Example(
        ChildRunning(supervisor="/user/band", name="horn"),
        "child 'horn' of /user/band is running: use terminate_child first",
        {"supervisor": "/user/band", "name": "horn"},
    ),
    Example(
        ChildRestarting(supervisor="/user/band", name="horn"),
        "child 'horn' of /user/band is being restarted: wait, or use terminate_child first",
        {"supervisor": "/user/band", "name": "horn"},
    ),
    Example(
        ChildNotFound(supervisor="/user/band", name="hron"),
        "child 'hron' of /user/band does not exist: which_children lists those that do",
        {"supervisor": "/user/band", "name": "hron"},
    ),
    Example(
        TooManyChildren(path="/user/pool", limit=10_000),
        "/user/pool has 10,000 children, as many as max_children allows: wait until one has ended",
        {"path": "/user/pool", "limit": 10_000},
    ),
    Example(
        QueueFull(capacity=3, message="m"),
        "the queue is full (3): use `await queue.put(...)`, or set `capacity=`",
        {"path": "queue", "capacity": 3, "message": "m", "seconds": None},
    ),
    Example(QueueEmpty(), "the queue is empty: use `await queue.get()` to wait for an item"),
    Example(
        EventBusClosed(session_id="matinee", event=Note(value=1)),
        "event bus 'matinee' is closed, and Note was not published: make a new one",
        {"session_id": "matinee", "event": Note(value=1)},
    ),
    Example(
        EventBusClosed(session_id="matinee"),
        "event bus 'matinee' is closed, and nobody was subscribed: make a new one",
        {"session_id": "matinee", "event": None},
    ),
    Example(ExecutionFinished("the curtain has fallen"), "the curtain has fallen"),
    Example(
        QueueClosed(operation="put", message="m"),
        "the queue is closed: put can do nothing more",
        {"operation": "put", "message": "m"},
    ),
    Example(
        QueueClosed(operation="get"),
        "the queue is closed and empty: get can do nothing more",
        {"operation": "get", "message": None},
    ),
    Example(
        ActorNotFound(path="/user/hron", nearest=["/user/horn", "/user/iron"]),
        "there is no actor /user/hron; nearest: /user/horn, /user/iron",
        {"path": "/user/hron", "nearest": ("/user/horn", "/user/iron")},
    ),
    Example(ActorNotFound(path="/user/x"), "there is no actor /user/x", {"path": "/user/x", "nearest": ()}),
    Example(
        WrongActorType(path="/user/horn", expected="Drum", actual="Horn"),
        "/user/horn is a Horn, not a Drum",
        {"path": "/user/horn", "expected": "Drum", "actual": "Horn"},
    ),
    Example(
        SystemCollapsed(system="show", path="/user/band", reason=EXCEEDED),
        "system 'show' collapsed: /user/band ended: /user/band/horn failed 4 times in 5 s\n"
        "  because crashed: ValueError: no tone",
        {
            "system": "show",
            "path": "/user/band",
            "reason": EXCEEDED,
            "chain": ("/user/band/horn failed 4 times in 5 s", "crashed: ValueError: no tone"),
        },
    ),
    Example(
        InvalidSpec(child="child 'horn'", field="restart", problem="must be 'permanent', got 'always'"),
        "restart must be 'permanent', got 'always' (child 'horn')",
        {"child": "child 'horn'", "field": "restart", "problem": "must be 'permanent', got 'always'"},
    ),
    Example(
        InvalidActor(actor="Horn", problem="handler `play` takes two messages"),
        "Horn: handler `play` takes two messages",
        {"actor": "Horn", "problem": "handler `play` takes two messages"},
    ),
    Example(
        InvalidSubscription(field="topic", problem="must be a class of events, '*' or a function, got 7"),
        "topic must be a class of events, '*' or a function, got 7",
        {"field": "topic", "problem": "must be a class of events, '*' or a function, got 7"},
    ),
    Example(
        InvalidTimeout(value=-1),
        "timeout must be a positive number of seconds, math.inf or None, got -1",
        {"value": -1, "allowed": "a positive number of seconds, math.inf or None"},
    ),
    Example(
        InvalidTransition(actor="Door", source="open", target="gone"),
        "Door does not go from open to gone: declare it, as in @in_state(open, to=gone)",
        {"actor": "Door", "source": "open", "target": "gone"},
    ),
    Example(
        InvalidContext(what="system 'show'", problem="it is not running: use it inside of `async with`"),
        "system 'show': it is not running: use it inside of `async with`",
        {"what": "system 'show'", "problem": "it is not running: use it inside of `async with`"},
    ),
    Example(
        ProgramFailed(program="tour", problem="execute: late", report=ProgramReport(program="tour", outcome="failed")),
        "program tour failed: execute: late",
        {
            "program": "tour",
            "problem": "execute: late",
            "report": ProgramReport(program="tour", outcome="failed"),
            "reason": None,
        },
    ),
    Example(
        InvalidProgram(file="tour.toml", problems=[(3, "agents.x.restart", "must be"), (None, "", "is empty")]),
        "tour.toml:3: agents.x.restart: must be\ntour.toml: is empty",
        {"file": "tour.toml", "problems": ((3, "agents.x.restart", "must be"), (None, "", "is empty"))},
    ),
    Example(
        BudgetExceeded(budget="team", what="tokens", limit=10, spent=8, wanted=5, reserved=1),
        "the budget 'team' has not enough tokens left: 8 of 10 spent, 1 reserved by calls under way, 5 wanted",
        {"budget": "team", "what": "tokens", "limit": 10, "spent": 8, "wanted": 5, "reserved": 1},
    ),
    Example(
        ModelUnavailable("overloaded", model="m"),
        "m is not available: overloaded",
        {"model": "m", "problem": "overloaded", "retry_after": None},
    ),
    Example(
        ModelFailed(model="m", problem="no end"), "m has given no answer: no end", {"model": "m", "problem": "no end"}
    ),
    Example(NoSuchApproval(7), "there is no request 7: ask for the pending ones by ListPending()", {"number": 7}),
    Example(
        NotInMeeting("council", "zoe", "it was not invited"),
        "zoe cannot do that in council: it was not invited",
        {"meeting": "council", "who": "zoe"},
    ),
    Example(
        NotYourTurn("ann", "bob"),
        "ann has not the floor, bob has: ask for it by RequestTurn()",
        {"who": "ann", "floor": "bob"},
    ),
    Example(
        StaleState(3, 4),
        "the change is based on state 3, which is now 4: look at it and try again",
        {"based_on": 3, "version": 4},
    ),
    Example(UsageError("--count is no number"), "--count is no number", {"problem": "--count is no number"}),
    Example(LinkError("no link"), "no link"),
    Example(
        ConnectionLost(peer="bank", why="it was closed", clean=True),
        "the connection with bank has ended: it was closed",
        {"peer": "bank", "why": "it was closed", "clean": True},
    ),
    Example(
        HandshakeFailed(peer="bank", why="unauthorized"),
        "no link with bank: unauthorized",
        {"peer": "bank", "why": "unauthorized"},
    ),
    Example(
        ProtocolError(problem="a batch that is too short"),
        "the peer broke the protocol: a batch that is too short",
        {"problem": "a batch that is too short"},
    ),
    Example(
        NoAddress(problem="'x' is no address"),
        "the peer broke the protocol: 'x' is no address",
        {"problem": "'x' is no address"},
    ),
    Example(
        LinkDown(node="bank", why="it was closed"),
        "node bank cannot be reached: it was closed",
        {"node": "bank", "why": "it was closed"},
    ),
    Example(
        MessageNotAccepted(what="Pay", problem="only a Message can"),
        "Pay cannot cross a link: only a Message can",
        {"what": "Pay", "problem": "only a Message can"},
    ),
    Example(RemoteError(name="KeyError", text="'x'"), "KeyError: 'x'", {"name": "KeyError", "text": "'x'"}),
    Example(RemoteError(name="KeyError", text=""), "KeyError", {"name": "KeyError", "text": ""}),
    Example(
        UnsafeListener(url="ws://x", problem="needs a token"),
        "ws://x: needs a token",
        {"url": "ws://x", "problem": "needs a token"},
    ),
    Example(
        MissingExtra(what="a WebSocket", package="websockets", extra="websocket"),
        'a WebSocket needs websockets: pip install "understudy[websocket]"',
        {"what": "a WebSocket", "package": "websockets", "extra": "websocket"},
    ),
    Example(
        mcp.MCPConnectionFailed(server="files", problem="it has ended with code 3"),
        "no session with the MCP server files: it has ended with code 3",
        {"server": "files", "problem": "it has ended with code 3"},
    ),
    Example(
        mcp.MCPConnectionLost(server="files", problem="it was ended by signal 9"),
        "the connection with the MCP server files was lost: it was ended by signal 9",
        {"server": "files", "problem": "it was ended by signal 9"},
    ),
    Example(
        mcp.MCPRefused(server="files", request="tool 'cat'", code=-32602, problem="there is no such tool"),
        "the MCP server files refused tool 'cat': there is no such tool (-32602)",
        {"server": "files", "request": "tool 'cat'", "code": -32602, "problem": "there is no such tool"},
    ),
    Example(
        mcp.MCPCallTimeout(server="files", request="tool 'cat'", seconds=5.0),
        "the MCP server files did not answer tool 'cat' within 5 s, its limit; raise `call_timeout=`",
        {"server": "files", "request": "tool 'cat'", "code": -32001, "problem": "", "seconds": 5.0},
    ),
    Example(
        mcp.MCPInvalidResult(server="files", request="tool 'cat'", problem="no image"),
        "the answer of the MCP server files to tool 'cat' is none: no image",
        {"server": "files", "request": "tool 'cat'", "code": -32603, "problem": "no image"},
    ),
    Example(
        MCPCallLost(server="files", request="tool 'cat'", problem="it was killed"),
        "the MCP server files was lost during tool 'cat', which may have been carried out or not: it was killed",
        {"server": "files", "request": "tool 'cat'", "code": -32000, "problem": "it was killed"},
    ),
    Example(
        MCPToolFailed(server="files", tool="cat", text="no such file"),
        "the tool 'cat' of the MCP server files has failed: no such file",
        {
            "server": "files",
            "tool": "cat",
            "text": "no such file",
            "request": "tool 'cat'",
            "code": -32000,
            "problem": "no such file",
        },
    ),
    Example(
        ToolMismatch(server="files", tool="cat", message="Cat", problems=("it has no tail", "it has no whiskers")),
        "Cat does not fit the tool 'cat' of the MCP server files: it has no tail; it has no whiskers",
        {
            "server": "files",
            "tool": "cat",
            "message": "Cat",
            "problems": ("it has no tail", "it has no whiskers"),
            "request": "tool 'cat'",
            "code": -32000,
            "problem": "it has no tail; it has no whiskers",
        },
    ),
    Example(
        ToolWithheld(server="files", tool="cat", changed=False, decision=Decision(status="expired")),
        "the tool 'cat' of the MCP server files is withheld, as it is new: expired",
        {
            "server": "files",
            "tool": "cat",
            "changed": False,
            "decision": Decision(status="expired"),
            "request": "tool 'cat'",
            "code": -32000,
            "problem": "it is new",
        },
    ),
    Example(ToolChanged(None), "the tool is another by now", {"tool": None}),
    Example(
        AgentUnavailable(agent="agent 'x' at bank", problem="no link", reason=NodeDown("bank"), unknown=True),
        "agent 'x' at bank: it was lost, and the message may have been handled or not: no link",
        {"agent": "agent 'x' at bank", "problem": "no link", "reason": NodeDown("bank"), "unknown": True},
    ),
    Example(
        mcp.MessageTooLarge(source="files", limit=262_144),
        "files sent a message of more than 262,144 bytes: raise `max_message_bytes=` if it may",
        {"source": "files", "limit": 262_144},
    ),
    Example(
        mcp.InvalidFrame(source="files", problem="no JSON"),
        "files sent what is not accepted: no JSON",
        {"source": "files", "problem": "no JSON"},
    ),
    Example(
        mcp.AddressBlocked(host="tools.example", address="10.0.0.1", why="it is not public"),
        "no connection to tools.example, which is 10.0.0.1, is allowed: it is not public; list it in `allow=` if it is "
        "meant",
        {"host": "tools.example", "address": "10.0.0.1", "why": "it is not public"},
    ),
    Example(
        PoolTimeout(pool="db", seconds=5.0, state="2 of 2: 2 leased; 3 others wait"),
        "pool 'db' had no connection within 5 s (2 of 2: 2 leased; 3 others wait): release sooner, raise max_size, or "
        "wait longer",
        {"pool": "db", "seconds": 5.0, "state": "2 of 2: 2 leased; 3 others wait", "failure": None},
    ),
    Example(
        PoolTimeout(pool="db", seconds=5.0, state="0 of 2; 0 others wait", failure="OSError: no route"),
        "pool 'db' had no connection within 5 s (0 of 2; 0 others wait): last failure: OSError: no route",
        {"pool": "db", "seconds": 5.0, "state": "0 of 2; 0 others wait", "failure": "OSError: no route"},
    ),
    Example(
        PoolClosed(pool="db", state="draining"),
        "pool 'db' is draining and lends no more connections: make another pool",
        {"pool": "db", "state": "draining"},
    ),
    Example(
        LeaseReleased(pool="db", connection=3),
        "this lease of connection 3 of pool 'db' has been released, and somebody else may have the connection by now: "
        "release once, and acquire again",
        {"pool": "db", "connection": 3},
    ),
    Example(
        NotInteractive(who="desk/nina", what="tea?", state="it has no endpoint"),
        "desk/nina cannot be asked 'tea?': it has no endpoint; give it an endpoint at which somebody sits, or go on "
        "without",
        {"who": "desk/nina", "what": "tea?", "state": "it has no endpoint"},
    ),
    Example(
        TooManyQuestions(who="desk/nina", most=100),
        "desk/nina has 100 questions to answer already: ask again later",
        {"who": "desk/nina", "most": 100},
    ),
    Example(
        QuestionNotOpen(who="desk/nina", number=3, state="answered"),
        "question 3 to desk/nina is not open: it has been answered",
        {"who": "desk/nina", "number": 3, "state": "answered"},
    ),
    Example(
        SeatClosed(name="desk/nina", reason="killed"),
        "the seat of desk/nina is closed (killed): use the one that its endpoint is given next",
        {"name": "desk/nina", "reason": "killed"},
    ),
]

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle-{protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


def subclasses(cls: type[UnderstudyError]) -> Iterator[type[UnderstudyError]]:
    yield cls
    for each in cls.__subclasses__():
        yield from subclasses(each)


def own_classes() -> set[type[UnderstudyError]]:
    """Every error class of the package, in whatever module."""
    for info in pkgutil.walk_packages(understudy.__path__, "understudy."):
        if not info.name.endswith(".__main__"):
            importlib.import_module(info.name)
    return {cls for cls in subclasses(UnderstudyError) if cls.__module__.partition(".")[0] == "understudy"}


def facts_of(error: UnderstudyError) -> dict[str, str]:
    # By their texts: an exception inside of a reason equals nothing but itself. Notes are made when somebody looks.
    return {name: repr(value) for name, value in vars(error).items() if name != "__notes__"}


# Sentences and facts


def test_each_class_of_the_package_has_an_example() -> None:
    assert {type(example.error) for example in EXAMPLES} == own_classes()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_error_says_its_sentence_and_carries_its_facts(example: Example) -> None:
    assert str(example.error) == example.sentence
    assert facts_of(example.error) == {name: repr(value) for name, value in example.facts.items()}
    assert all(getattr(example.error, name) is not ... for name in example.facts)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_error_survives_copying_and_pickling_with_text_and_facts(example: Example) -> None:
    error = example.error
    for way, remake in COPIES.items():
        again = remake(error)

        assert again is not error, way
        assert type(again) is type(error), way
        assert (str(again), again.args) == (str(error), error.args), way
        assert facts_of(again) == facts_of(error), way
        assert getattr(again, "__notes__", None) == getattr(error, "__notes__", None), way
        # The copy is one of its own: what is done to it does not reach the first.
        again.scribble = 1
        assert not hasattr(error, "scribble"), way


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_note_that_somebody_added_is_kept_and_survives(example: Example) -> None:
    error = copy.copy(example.error)
    before = list(getattr(error, "__notes__", []))

    error.add_note("seen by the concierge")

    assert getattr(error, "__notes__", None) == [*before, "seen by the concierge"]
    for way, remake in COPIES.items():
        assert remake(error).__notes__ == [*before, "seen by the concierge"], way
    assert getattr(example.error, "__notes__", []) == before


def test_a_taken_name_leaves_its_ref_behind_when_it_travels() -> None:
    error = NameTaken(path="/user/horn", ref=object())

    again = pickle.loads(pickle.dumps(error))

    assert (again.path, again.ref, str(again)) == ("/user/horn", None, str(error))
    assert error.ref is not None


def test_a_child_that_is_running_leaves_its_ref_behind_when_the_error_travels() -> None:
    error = ChildAlreadyStarted(supervisor="/user/band", name="horn", ref=object())

    again = pickle.loads(pickle.dumps(error))

    assert (again.supervisor, again.name, again.ref, str(again)) == ("/user/band", "horn", None, str(error))
    assert error.ref is not None


def test_an_error_that_travels_has_no_traceback_and_no_cause() -> None:
    try:
        raise UsageError("wrong") from ValueError("a cause")
    except UsageError as error:
        again = pickle.loads(pickle.dumps(error))
    assert (again.__traceback__, again.__cause__) == (None, None)


def test_a_long_wait_is_told_in_plain_seconds() -> None:
    error = AskTimeout(path="/user/horn", message=Note(), seconds=3600.0, state="accepted, 0 waiting")
    assert "within 3600 s" in str(error) or "within 3,600 s" in str(error)


# Subclasses of users


class Insufficient(Refused):
    def __init__(self, missing: int, currency: str = "EUR") -> None:
        super().__init__(f"{missing} {currency} short")
        self.missing = missing
        self.currency = currency


class Closed(Refused):
    def __init__(self, *, until: float) -> None:
        super().__init__()
        self.until = until


class Forbidden(Refused, PermissionError):
    def __init__(self, who: str, what: str) -> None:
        super().__init__(f"{who} may not {what}")
        self.who = who


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(
    ("error", "text", "facts"),
    [
        (Insufficient(3), "3 EUR short", {"missing": 3, "currency": "EUR"}),
        (Insufficient(3, "USD"), "3 USD short", {"missing": 3, "currency": "USD"}),
        (Closed(until=8.5), "", {"until": 8.5}),
        (Forbidden("Ann", "sing"), "Ann may not sing", {"who": "Ann"}),
    ],
    ids=["positional", "two positional", "keyword", "with a second base"],
)
def test_a_refusal_of_the_user_survives_whatever_its_constructor_takes(
    error: Refused, text: str, facts: dict[str, Any], way: str
) -> None:
    again = COPIES[way](error)

    assert type(again) is type(error)
    assert (str(again), vars(again)) == (text, facts)


# The tree


def drawn() -> dict[str, tuple[str | None, str]]:
    """The tree in the module's docstring: for each class its base and the words beside it."""
    found: dict[str, tuple[str | None, str]] = {}
    above: list[str] = []
    line = re.compile(r"^    ([| ]*(?:\+-- )?)(\w+)(?:  +(\S.*))?$", re.MULTILINE)
    for indent, name, words in line.findall(exceptions.__doc__ or ""):
        depth = len(indent) // 4
        del above[depth:]
        found[name] = (above[-1] if above else None, words)
        above.append(name)
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    classes = [cls for cls in subclasses(UnderstudyError) if cls.__module__ == exceptions.__name__]
    bases = {
        cls.__name__: next((base.__name__ for base in cls.__bases__ if issubclass(base, UnderstudyError)), None)
        for cls in classes
    }
    assert {name: base for name, (base, _) in drawn().items()} == bases
    assert set(bases) == set(exceptions.__all__)


def test_the_tree_in_the_docstring_names_each_second_base() -> None:
    second = {
        name: {base.__name__ for base in getattr(exceptions, name).__bases__ if not issubclass(base, UnderstudyError)}
        for name in drawn()
        if name != "UnderstudyError"
    }
    said = {
        name: {word for word in re.findall(r"``(\w+)``", words) if hasattr(builtins, word)}
        for name, (_, words) in drawn().items()
        if name != "UnderstudyError"
    }
    assert said == second


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (InvalidSpec, ValueError),
        (InvalidSubscription, ValueError),
        (InvalidTimeout, ValueError),
        (InvalidTransition, RuntimeError),
        (InvalidActor, TypeError),
        (AskTimeout, TimeoutError),
        (StartTimeout, StartError),
        (ReplaceTimeout, NotReplaced),
        (ReplaceTimeout, TimeoutError),
        *((each, ChildError) for each in (ChildAlreadyStarted, ChildAlreadyPresent, ChildRunning, ChildRestarting)),
        (ChildNotFound, ChildError),
        (QueueFull, MailboxFull),
    ],
)
def test_an_error_is_caught_by_its_second_base_too(cls: type[UnderstudyError], base: type[Exception]) -> None:
    error = next(example.error for example in EXAMPLES if type(example.error) is cls)
    with pytest.raises(base) as caught:
        raise error
    assert caught.value is error


def test_no_error_of_the_runtime_is_taken_for_another_kind_by_accident() -> None:
    allowed = {
        InvalidSpec: ValueError,
        InvalidSubscription: ValueError,
        InvalidTimeout: ValueError,
        InvalidProgram: ValueError,
        InvalidActor: TypeError,
        AskTimeout: TimeoutError,
        ReplaceTimeout: TimeoutError,
        PoolTimeout: TimeoutError,
    }
    for cls in own_classes():
        for kind in (ValueError, TypeError, OSError, LookupError):
            assert issubclass(cls, kind) == issubclass(allowed.get(cls, Exception), kind), (cls, kind)


def test_every_error_of_the_core_can_be_imported_from_the_package() -> None:
    for name in exceptions.__all__:
        assert getattr(understudy, name) is getattr(exceptions, name)
        assert inspect.getdoc(getattr(exceptions, name))


# Where an actor has failed


def test_where_an_actor_has_failed_is_written_when_somebody_prints_it() -> None:
    with mock.patch("linecache.getlines", side_effect=AssertionError("source was read")):
        error = ActorFailed(path="/user/horn", message_type="Note", reason=CRASHED)
        assert "__notes__" not in vars(error)
        assert str(error) == "/user/horn failed while handling Note (crashed: ValueError: no tone)"
    printed = "".join(traceback.format_exception(error))
    assert 'in /user/horn:\n  File "band.py", line 12, in Player.play\n  File "horn.py", line 3, in blow' in printed


@pytest.mark.parametrize("reason", [Crashed(ValueError("no tone")), Killed(), EXCEEDED])
def test_a_failure_without_a_place_has_no_notes(reason: Any) -> None:
    error = ActorFailed(path="/user/horn", message_type="Note", reason=reason)
    assert not hasattr(error, "__notes__")
    assert "in /user/horn" not in "".join(traceback.format_exception(error))


def test_a_failure_has_no_other_attributes_than_its_own() -> None:
    error = ActorFailed(path="/user/horn", message_type="Note", reason=CRASHED)
    with pytest.raises(AttributeError, match="colour"):
        _ = error.colour
    # Not made by its constructor, as in the middle of unpickling.
    with pytest.raises(AttributeError, match="path"):
        _ = ActorFailed.__new__(ActorFailed).path
