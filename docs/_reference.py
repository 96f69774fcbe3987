"""Makes the reference, `docs/reference.md` and `docs/reference/*.md`, from the signatures and docstrings of the source.

    python docs/_reference.py            write the pages
    python docs/_reference.py --check    say which of them are not what they should be, and fail if any is

It reads the source and imports none of it, so every Python makes the same pages.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

__all__ = ["FACADES", "Entry", "Member", "entries", "main", "pages", "undocumented"]

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
DOCS = ROOT / "docs"
WIDTH = 100
"""Longer signatures have a line for each parameter."""

FACADES = {
    "understudy": "What most programs need.",
    "understudy.actors": "Actors, their refs, and what an actor sees of the runtime.",
    "understudy.supervision": "Supervisors and declarations.",
    "understudy.mailbox": "The queue behind every actor, of use on its own too.",
    "understudy.testing": "The test kit, and simulation.",
    "understudy.exceptions": "What is raised.",
    "understudy.reasons": "Why an actor has ended.",
    "understudy.messages": "Messages, and the signals of the runtime.",
    "understudy.instrument": "For whoever wants to know what happens.",
    "understudy.events": "The event bus, and what is published on it.",
    "understudy.transports": "What reaches beyond this process: links between systems, and a pool of connections.",
    "understudy.system": "The system itself.",
    "understudy.agents": "Agents, programs of agents, and language models behind mailboxes.",
    "understudy.background": "A system in a thread of its own.",
    "understudy.transports.mcp": "Sessions with MCP servers, and actors served as tools; in the extra `mcp`.",
    "understudy.compat": "The interfaces of the old design, on the way to others.",
    "understudy.runner": "The runner of programs.",
}
"""The public modules, each with its `__all__`; a name is found on the page of the last of them that has it."""
INTERNAL = {"Instruments", "part_type", "reply_type"}
"""What the modules of the runtime share with each other and with nobody else."""
LIKE = {"System": "ActorSystem"}
"""Classes that say nothing of members which are those of another."""
PAGES = {
    "actors": "Actors",
    "supervision": "Supervision",
    "messages": "Messages and signals",
    "mailbox": "Mailboxes",
    "events": "The event bus",
    "transports": "Transports",
    "system": "The system",
    "instrument": "Instruments",
    "exceptions": "Exceptions",
    "reasons": "Exit reasons",
    "agents": "Agents",
    "testing": "Testing",
    "mcp": "MCP",
    "compat": "The old design",
}
"""The pages, in their order, with their titles."""
TOGETHER = {"background": "system", "runner": "system"}
"""Modules without a page of their own."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef | ast.Assign | ast.AnnAssign


# The source


@dataclass(frozen=True, eq=False)
class Module:
    """A module, read."""

    name: str
    text: str
    tree: ast.Module

    @cached_property
    def lines(self) -> list[bytes]:
        """Of the text; `ast` counts columns in bytes."""
        return self.text.encode().split(b"\n")

    def segment(self, node: ast.expr) -> str:
        """The source of *node*, in one line; `ast.get_source_segment` would split the whole text for each."""
        lines = self.lines[node.lineno - 1 : node.end_lineno]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        text = " ".join(b" ".join(lines).decode().split())
        return re.sub(r"([(\[{]) | (?=[)\]}])", lambda found: found[1] or "", text)

    def annotation(self, node: ast.expr) -> str:
        """The source of an annotation, without the quotes that it may be in."""
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else self.segment(node)


@cache
def module(name: str) -> Module:
    """The module of that name."""
    path = SOURCE.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = file.read_text("utf-8")
    return Module(name, text, ast.parse(text))


@cache
def exported(name: str) -> tuple[str, ...]:
    """The names in `__all__` of that module, but for those that are for the runtime."""
    for node in module(name).tree.body:
        if isinstance(node, ast.Assign) and "__all__" in names_of(node):
            names: list[str] = ast.literal_eval(node.value)
            return tuple(each for each in names if each not in INTERNAL)
    raise LookupError(f"{name} has no __all__")


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """*body*, and what is only for type checkers."""
    for node in body:
        if isinstance(node, ast.If):
            yield from statements(node.body)
        else:
            yield node


def names_of(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [each.id for each in node.targets if isinstance(each, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


@cache
def find(where: str, name: str) -> tuple[Module, tuple[Definition, ...]] | None:
    """The module that defines *name* as it is known in *where*, and its definitions: several for overloads."""
    home = module(where)
    found = [node for node in statements(home.tree.body) if name in names_of(node)]
    if found:
        return home, tuple(node for node in found if isinstance(node, Definition))
    for node in statements(home.tree.body):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("understudy"):
            for each in node.names:
                if (each.asname or each.name) == name:
                    return find(node.module, each.name)
    return None


def docstring(body: list[ast.stmt], index: int = 0) -> str:
    """The string at that place of *body*, if there is one."""
    node = body[index] if index < len(body) else None
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        first, _, rest = node.value.value.expandtabs().partition("\n")
        return f"{first.strip()}\n{textwrap.dedent(rest)}".strip()
    return ""


# What there is


@dataclass(frozen=True)
class Member:
    """A member of a class, or a function."""

    name: str
    signatures: tuple[str, ...]
    text: str
    is_attribute: bool = False


@dataclass(frozen=True)
class Entry:
    """A public name."""

    name: str
    page: str
    modules: tuple[str, ...]
    kind: str
    signatures: tuple[str, ...]
    text: str
    bases: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence."""
        paragraph = " ".join(self.text.split("\n\n")[0].split())
        found = re.match(r"(.*?[.!?])(?:\s|$)", paragraph)
        return found[1] if found else paragraph.rstrip(":")


@cache
def entries() -> Mapping[str, Entry]:
    """All public names, by name."""
    where: dict[str, list[str]] = {}
    for facade in FACADES:
        for name in exported(facade):
            where.setdefault(name, []).append(facade)
    return {name: entry(name, tuple(modules)) for name, modules in sorted(where.items())}


def entry(name: str, modules: tuple[str, ...]) -> Entry:
    """What is to be said of *name*."""
    found = find(modules[0], name)
    if found is None or not found[1]:
        raise LookupError(f"{name}, which {modules[0]} exports, is defined nowhere")
    home, nodes = found
    last = modules[-1].rpartition(".")[2]
    page = TOGETHER.get(last, last)
    node = nodes[-1]
    if isinstance(node, ast.ClassDef):
        return class_entry(home, node, page, modules)
    if isinstance(node, Function):
        functions = [each for each in nodes if isinstance(each, Function)]
        member = function_member(home, functions, name, bound=False)
        return Entry(name, page, modules, "function", member.signatures, member.text)
    assert node.value is not None
    text = docstring(home.tree.body, home.tree.body.index(node) + 1)
    return Entry(name, page, modules, "alias", (f"{name} = {home.segment(node.value)}",), text)


def class_entry(home: Module, node: ast.ClassDef, page: str, modules: tuple[str, ...]) -> Entry:
    """What is to be said of a class."""
    line = lineage(home, node)
    other = LIKE.get(node.name)
    members: dict[str, Member] = {}
    for where, each in reversed(line):
        for member in members_of(where, each):
            members.pop(member.name, None)
            text = member.text or (f"As :meth:`understudy.{other}.{member.name}`." if other else "")
            members[member.name] = replace(member, text=text)
    text = docstring(node.body)
    listed = set(re.findall(r"^ *(\w+):", section(text, "Attributes"), re.MULTILINE))
    parameters = constructor(line)
    signature = laid_out(f"class {node.name}", parameters, "") if parameters is not None else f"class {node.name}"
    shown = tuple(each for each in members.values() if each.name not in listed)
    bases = tuple(home.segment(each) for each in node.bases)
    return Entry(node.name, page, modules, "class", (signature,), text, bases, shown)


def lineage(home: Module, node: ast.ClassDef) -> list[tuple[Module, ast.ClassDef]]:
    """The class, and those of its bases that are not public, whose members are shown as its own."""
    line = [(home, node)]
    for base in node.bases:
        name = home.segment(base).partition("[")[0]
        found = find(home.name, name)
        if found is not None and not is_public(name) and isinstance(found[1][-1], ast.ClassDef):
            line += lineage(found[0], found[1][-1])
    return line


def is_public(name: str) -> bool:
    """Whether some facade exports it."""
    return any(name in exported(facade) for facade in FACADES)


def members_of(home: Module, node: ast.ClassDef) -> Iterator[Member]:
    """The public members that the class itself defines."""
    functions: dict[str, list[Function]] = {}
    for index, each in enumerate(node.body):
        if isinstance(each, Function):
            functions.setdefault(each.name, []).append(each)
            if each.name == "__init__":
                yield from assigned(home, node, each)
        elif isinstance(each, ast.AnnAssign | ast.Assign):
            for name in names_of(each):
                if not name.startswith("_") and name != "model_config":
                    text = docstring(node.body, index + 1)
                    if isinstance(each.value, ast.Name) and each.value.id in functions:
                        text = text or f"The same as :meth:`{each.value.id}`."
                    yield Member(name, (attribute(home, each, name),), text, is_attribute=True)
    for name, group in functions.items():
        if not name.startswith("_") and not is_decorated(group[0], "field_validator", "model_validator"):
            yield function_member(home, group, name, bound=True)


def assigned(home: Module, node: ast.ClassDef, init: Function) -> Iterator[Member]:
    """What the constructor sets of public attributes, where something is said of it; all of an exception's."""
    every = home.name == "understudy.exceptions"
    types = {each.arg: home.segment(each.annotation) for each in parameters_of(init) if each.annotation is not None}
    for index, each in enumerate(init.body):
        if not isinstance(each, ast.Assign | ast.AnnAssign):
            continue
        target = each.targets[0] if isinstance(each, ast.Assign) else each.target
        if isinstance(target, ast.Attribute) and home.segment(target.value) == "self" and is_told(target.attr):
            text = docstring(init.body, index + 1)
            if text or every:
                kind = home.segment(each.annotation) if isinstance(each, ast.AnnAssign) else types.get(target.attr)
                if kind is None and isinstance(each.value, ast.Constant) and each.value.value is not None:
                    kind = type(each.value.value).__name__
                yield Member(target.attr, (f"{target.attr}: {kind}" if kind else target.attr,), text, is_attribute=True)


def is_told(name: str) -> bool:
    return not name.startswith("_") and name != "args"  # which every exception has


def attribute(home: Module, node: ast.AnnAssign | ast.Assign, name: str) -> str:
    """An attribute with its type and what it is at first."""
    kind = f": {home.annotation(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
    return f"{name}{kind}" if node.value is None else f"{name}{kind} = {constant(home, node.value)}"


def is_decorated(node: Function, *names: str) -> bool:
    """Whether one of these is on it."""
    return any(ast.unparse(each).partition("(")[0] in names for each in node.decorator_list)


def function_member(home: Module, nodes: list[Function], name: str, *, bound: bool) -> Member:
    """A function or method: with its overloads, if it has them, and what is said of the last."""
    if any(is_decorated(each, "property") for each in nodes):
        returns = nodes[0].returns
        kind = "" if returns is None else f": {home.annotation(returns)}"
        return Member(name, (f"{name}{kind}",), docstring(nodes[0].body), is_attribute=True)
    overloads = [each for each in nodes if is_decorated(each, "overload")]
    text = next((found for each in reversed(nodes) if (found := docstring(each.body))), "")
    return Member(name, tuple(signature(home, each, bound=bound) for each in overloads or nodes), text)


def signature(home: Module, node: Function, *, bound: bool) -> str:
    """How a function is called."""
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    static = is_decorated(node, "staticmethod")
    marks = "".join(f"@{each}\n" for each in ("classmethod", "staticmethod") if is_decorated(node, each))
    returns = "" if node.returns is None else f" -> {home.annotation(node.returns)}"
    return marks + laid_out(f"{prefix} {node.name}", parameters(home, node, bound=bound and not static), returns)


def laid_out(head: str, parts: list[str], tail: str) -> str:
    """In one line, or in one for each parameter."""
    line = f"{head}({', '.join(parts)}){tail}"
    if len(line) <= WIDTH or not parts:
        return line
    return "\n".join([f"{head}(", *(f"    {part}," for part in parts), f"){tail}"])


def parameters_of(node: Function) -> list[ast.arg]:
    """All of them that can be named."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def parameters(home: Module, node: Function, *, bound: bool) -> list[str]:
    """The parameters of a function as they are written; without the first if it is *bound*."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    parts: list[str] = []
    for index, (each, default) in enumerate(zip(positional, defaults, strict=True)):
        if not (bound and index == 0):
            parts.append(parameter(home, each, default))
        if index + 1 == len(given.posonlyargs) and parts:
            parts.append("/")
    if given.vararg is not None:
        parts.append(f"*{parameter(home, given.vararg, None)}")
    elif given.kwonlyargs:
        parts.append("*")
    parts += [parameter(home, each, default) for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg is not None:
        parts.append(f"**{parameter(home, given.kwarg, None)}")
    return parts


def parameter(home: Module, node: ast.arg, default: ast.expr | None) -> str:
    kind = "" if node.annotation is None else f": {home.annotation(node.annotation)}"
    if default is None:
        return node.arg + kind
    return f"{node.arg}{kind} = {constant(home, default)}" if kind else f"{node.arg}={constant(home, default)}"


def constant(home: Module, node: ast.expr) -> str:
    """A default; of a named number the number."""
    found = find(home.name, node.id) if isinstance(node, ast.Name) else None
    defined = found[1][-1] if found is not None else None
    if found is not None and isinstance(defined, ast.Assign) and isinstance(defined.value, ast.Constant):
        return found[0].segment(defined.value)
    return home.segment(node)


def constructor(line: list[tuple[Module, ast.ClassDef]]) -> list[str] | None:
    """What makes an instance: of `__init__`, or of the fields; None: nothing that users could call."""
    for home, each in line:
        for function in each.body:
            if isinstance(function, Function) and function.name == "__init__":
                return None if is_internal(home, function) else parameters(home, function, bound=True)
        if any(home.segment(mark).startswith("dataclass") for mark in each.decorator_list):
            only = ["*"] if any("kw_only=True" in home.segment(mark) for mark in each.decorator_list) else []
            return [*only, *fields(home, each)] if fields(home, each) else []
        if any(home.segment(base).partition("[")[0] in ("BaseModel", "Message", "Signal") for base in each.bases):
            return ["*", *fields(home, each)] if fields(home, each) else []
    return None


def is_internal(home: Module, init: Function) -> bool:
    """Whether a constructor wants something that only the runtime has."""
    kinds = " ".join(home.segment(each.annotation) for each in parameters_of(init) if each.annotation)
    for word in re.findall(r"\w+", kinds):
        found = find(home.name, word)
        if found is not None and isinstance(found[1][-1], ast.ClassDef) and not is_public(word):
            return True
    return False


def fields(home: Module, node: ast.ClassDef) -> list[str]:
    """The fields of a dataclass or a model."""
    found: list[str] = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name, kind = each.target.id, home.annotation(each.annotation)
            if not name.startswith("_") and not kind.startswith("ClassVar"):
                default = "" if each.value is None else f" = {constant(home, each.value)}"
                found.append(f"{name}: {kind}{'' if 'field(' in default and 'init=False' in default else default}")
    return found


def undocumented() -> list[str]:
    """The public names, and members of them, of which nothing is said."""
    missing: list[str] = []
    for each in entries().values():
        if not each.text:
            missing.append(each.name)
        missing += [f"{each.name}.{member.name}" for member in told(each) if not member.text]
    return missing


def told(each: Entry) -> list[Member]:
    """The members that need words of their own: not what the constructor is given and has told of."""
    return [member for member in each.members if member.text or not is_taken(each, member)]


def is_taken(each: Entry, member: Member) -> bool:
    """Whether that is an attribute which is set by the parameter of the same name."""
    return member.is_attribute and re.search(rf"\b{member.name}\b", each.signatures[0]) is not None


# The pages


@dataclass
class Links:
    """Where the names of a docstring lead, from a page."""

    page: str
    inside: Entry | None = None

    def to(self, target: str) -> str:
        """A link to *target*, or its name in code where there is nothing to lead to."""
        name = target.lstrip("~").removeprefix("understudy.")
        last = name.rpartition(".")[2] if name.split(".")[0] in PAGES else name
        owner, _, member = last.rpartition(".")
        if not owner and self.inside is not None and any(each.name == last for each in self.inside.members):
            owner, member = self.inside.name, last
        found = entries().get(owner or last)
        shown = f"`{last}`"
        if found is None or (owner and all(each.name != member for each in found.members)):
            return shown
        path = "" if found.page == self.page else f"{found.page}.md"
        return f"[{shown}]({path}#{anchor(f'{owner}.{member}' if owner else last)})"


def anchor(heading: str) -> str:
    """How a heading is linked to."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def pages() -> dict[Path, str]:
    """All pages: where each belongs, and what is in it."""
    made = {DOCS / "reference.md": index()}
    for page, title in PAGES.items():
        made[DOCS / "reference" / f"{page}.md"] = page_of(page, title)
    return made


NOTE = "<!-- Made by docs/_reference.py from the source. Change the docstrings there, and run `make docs`. -->"


def index() -> str:
    """The page with all names."""
    lines = [
        "# Reference",
        "",
        NOTE,
        "",
        "Every public name, by the module it is imported from. What each of them promises is on its page; what they",
        "promise together is in [What the runtime promises](semantics.md).",
        "",
        *(f"- [{title}](reference/{page}.md)" for page, title in PAGES.items()),
        "",
        "What is not listed here is not public, also if its name does not begin with `_`: `understudy.environment`,",
        "for one, is the seam between the runtime and the world. It changes as they need it.",
        "",
    ]
    for facade, text in FACADES.items():
        lines += [f"## {facade}", "", text, "", "| name | |", "|---|---|"]
        for name in exported(facade):
            each = entries()[name]
            summary = prose(each.summary, Links("")).replace("|", "\\|").replace("](", "](reference/")
            lines.append(f"| [`{name}`](reference/{each.page}.md#{anchor(name)}) | {summary} |")
        lines.append("")
    return "\n".join(lines)


def page_of(page: str, title: str) -> str:
    """The page of some modules."""
    there = [each for each in entries().values() if each.page == page]
    lines = [f"# {title}", "", NOTE, "", "[All names](../reference.md)", ""]
    for each in there:
        lines += described(each, Links(page, each))
    return "\n".join(lines).rstrip() + "\n"


def described(each: Entry, links: Links) -> list[str]:
    """The part of a page about a public name."""
    places = " or ".join(f"`{place}`" for place in each.modules)
    bases = [links.to(re.sub(r"\[.*", "", base)) for base in each.bases if not re.match(r"(Generic|Protocol)\b", base)]
    of = f"; a kind of {', '.join(bases)}" if bases else ""
    lines = [f"## {each.name}", "", *code(each.signatures), f"From {places}{of}.", "", *markdown(each.text, links)]
    if bare := [f"`{member.signatures[0]}`" for member in each.members if not member.text and is_taken(each, member)]:
        lines += [*wrapped(f"Attributes: {', '.join(bare)}."), ""]
    for member in told(each):
        lines += [f"### {each.name}.{member.name}", "", *code(member.signatures), *markdown(member.text, links)]
    return lines


def code(signatures: Iterable[str]) -> list[str]:
    return ["```py", *signatures, "```", ""]


SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|The loop raises):$")


def section(text: str, title: str) -> str:
    """The lines under that title in a docstring, still indented."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    return "" if found is None else found[1]


def markdown(text: str, links: Links) -> list[str]:
    """A docstring as Markdown."""
    lines: list[str] = []
    for title, body in parts(text):
        if title == "Returns" and not re.match(r"\s*[\w.]+: ", body):
            lines += [*wrapped(prose(f"Returns: {body}", links)), ""]
            continue
        if title is not None:
            lines += [f"{title}:", "", *items(body, links), ""]
            continue
        for block in re.split(r"\n\s*\n", body.strip("\n")):
            if not block.strip() or block.strip() == "::":
                continue
            if all(line.startswith("    ") for line in block.splitlines()):
                lines += ["```py", *textwrap.dedent(block).splitlines(), "```", ""]
            else:
                lines += [*wrapped(prose(re.sub(r"::$", ":", block), links)), ""]
    return merged(lines)


def merged(lines: list[str]) -> list[str]:
    """Blocks of code that follow each other are one."""
    text = "\n".join(lines)
    return text.replace("```\n\n```py\n", "\n").split("\n") if lines else []


def parts(text: str) -> Iterator[tuple[str | None, str]]:
    """The prose of a docstring, and its sections."""
    title: str | None = None
    body: list[str] = []
    for line in text.splitlines():
        found = SECTION.match(line)
        if found or (title is not None and line and not line.startswith(" ")):
            yield title, "\n".join(body)
            title, body = (found[1] if found else None), []
            if found:
                continue
        body.append(line)
    yield title, "\n".join(body)


def items(body: str, links: Links) -> list[str]:
    """The entries of a section as a list."""
    found: list[str] = []
    for line in textwrap.dedent(body).splitlines():
        if not line.strip():
            continue
        if line.startswith(" ") and found:
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
    lines: list[str] = []
    for each in found:
        names, colon, text = each.partition(": ")
        head = ", ".join(links.to(name) if name[:1].isupper() else f"`{name}`" for name in names.split(", "))
        lines += wrapped(f"- {head}: {prose(text, links)}" if colon else f"- {prose(each, links)}", "  ")
    return lines


def prose(text: str, links: Links) -> str:
    """Text of a docstring, with its names in code and its references as links."""
    text = re.sub(r":\w+:`([^`<]+) <([^>]+)>`", lambda found: f":class:`{found[2]}`", text)
    text = re.sub(r":\w+:`([^`]+)`", lambda found: links.to(found[1]), text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def wrapped(text: str, indent: str = "") -> list[str]:
    """*text* in lines; lists stay lists."""
    lines: list[str] = []
    for paragraph in re.split(r"\n(?=- |\d\. )", text):
        within = indent or ("  " if paragraph.startswith("- ") else "")
        lines += textwrap.wrap(
            " ".join(paragraph.split()), 120, subsequent_indent=within, break_long_words=False, break_on_hyphens=False
        )
    return lines


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    extra = sorted(set((DOCS / "reference").glob("*.md")) - set(made))
    if "--check" in arguments:
        for path in [*stale, *extra]:
            print(f"{path.relative_to(ROOT)} is not what docs/_reference.py makes: run `make docs`")
        return 1 if stale or extra else 0
    (DOCS / "reference").mkdir(exist_ok=True)
    for path in extra:
        path.unlink()
    for path in stale:
        path.write_text(made[path], "utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
