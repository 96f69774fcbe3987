// What is seen. All that others have said is put into text nodes, and into nothing else.

const KEPT = 2_000; // entries of the log
const GUARD = 600; // milliseconds in which a new card cannot be clicked, by a click that was meant for something else

/** An element with a class and children; a string becomes a text node. */
export function element(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

// Controls, marks of direction, spaces that are none, and all else that is drawn as nothing: in what somebody is to
// decide upon, nothing may hide.
const HIDDEN = /(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/** *text*, with what cannot be seen written out. */
export function visible(text) {
  return text.replace(HIDDEN, (found) => {
    const code = found.codePointAt(0).toString(16);
    return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`;
  });
}

/** *json*, in which letters of all languages stand as themselves, and what cannot be seen is written out. */
export function readable(json) {
  const unescape = (found, code) => (code && parseInt(code, 16) > 0x7f ? String.fromCharCode(parseInt(code, 16)) : found);
  return visible(json.replace(/\\(?:u([0-9a-fA-F]{4})|.)/gsu, unescape));
}

/** Make *field* as high as what is written in it. */
export function grow(field) {
  field.rows = Math.min(8, field.value.split("\n").length);
}

/** An id, as it is shown. */
function short(speaker) {
  return visible(speaker.replace(/^\/user\//, "")) || "somebody";
}

function button(label, name, onclick) {
  const made = element("button", name, label);
  made.type = "button";
  made.onclick = onclick;
  return made;
}

/** *field*, in which *label* stands while it is empty, and which has that for its name. */
function labelled(label, field) {
  field.placeholder = label;
  field.setAttribute("aria-label", label);
  field.autocomplete = "off";
  return field;
}

/** The answer of somebody, which grows. */
class Turn {
  constructor(number) {
    this.number = number;
    this.speaker = element("h3", "speaker", "Answering");
    this.body = element("div", "body");
    this.entry = element("li", "entry theirs busy", this.speaker, this.body);
    this.entry.setAttribute("aria-busy", "true");
    this.text = "";
    this.part = null; // the text that grows
    this.tools = new Map();
  }

  say(text) {
    this.text += text;
    if (this.part === null) {
      this.part = document.createTextNode("");
      this.body.append(element("p", "said", this.part));
    }
    this.part.appendData(text);
  }

  tool({ call, tool, status }) {
    let note = this.tools.get(call);
    if (note === undefined) {
      note = element("p", "tool");
      this.tools.set(call, note);
      this.body.append(note);
      this.part = null;
    }
    note.textContent = `${visible(tool)}: ${status ?? "running"}`;
    note.dataset.status = status ?? "running";
  }

  /** The rest is not to be had. */
  lose() {
    this.body.append(element("p", "end", "The rest is not kept any more"));
    this.settle();
  }

  end({ status, text, speaker, problem }) {
    if (text && text !== this.text) {
      // Some of it was not streamed, or was missed.
      for (const said of this.body.querySelectorAll(".said")) said.remove();
      this.part = null;
      this.say(text);
    }
    this.speaker.textContent = short(speaker);
    if (status !== "completed") {
      const why = status === "failed" ? `Failed: ${problem || "no reason was given"}` : "Interrupted";
      this.body.append(element("p", `end ${status}`, why));
    } else if (!this.body.hasChildNodes()) {
      this.body.append(element("p", "end", "Said nothing"));
    }
    this.settle();
  }

  settle() {
    this.entry.classList.remove("busy");
    this.entry.removeAttribute("aria-busy");
  }
}

export class View {
  /** @param {object} does what the person does: `answer(number, text)`, `decide(number, approve, comment)` */
  constructor(does) {
    this.does = does;
    for (const id of ["conversation", "log", "pending", "empty", "waiting", "requests", "interrupt", "news", "text"]) {
      this[id] = document.getElementById(id);
    }
    this.turns = new Map();
    this.cards = new Map();
    this.current = null; // the number of the turn under way
    this.atEnd = true;
    this.conversation.addEventListener("scroll", () => this.look());
    new ResizeObserver(() => this.follow()).observe(this.conversation);
    this.show();
  }

  /** Begin anew. */
  clear() {
    this.log.replaceChildren();
    this.requests.replaceChildren();
    this.turns.clear();
    this.cards.clear();
    this.current = null;
    this.show();
  }

  /** Show what the person is told. */
  take(delivery) {
    const show = this[`on_${delivery.kind}`];
    if (show !== undefined) show.call(this, delivery);
    this.show();
  }

  on_said({ text, speaker }) {
    this.add("theirs", short(speaker), element("p", "said", text));
  }

  on_turn_started({ turn, text }) {
    this.add("mine", "You", element("p", "said", text));
    this.turn(turn);
  }

  on_text({ turn, text }) {
    this.turn(turn).say(text);
  }

  on_tool_started(delivery) {
    this.turn(delivery.turn).tool(delivery);
  }

  on_tool_ended(delivery) {
    this.turn(delivery.turn).tool(delivery);
  }

  on_turn_ended(delivery) {
    this.turn(delivery.turn).end(delivery);
    this.turns.delete(delivery.turn);
    if (this.current === delivery.turn) this.current = null;
  }

  on_question({ number, text, speaker }) {
    const who = short(speaker);
    const field = element("textarea", "");
    field.rows = 1;
    field.required = true;
    field.oninput = () => grow(field);
    const form = element(
      "form",
      "",
      element("p", "asked", text),
      element("div", "actions", labelled(`Your answer to ${who}`, field), element("button", "", "Answer")),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      this.settle(`question ${number}`, this.does.answer(number, field.value));
    };
    field.onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    };
    this.card(`question ${number}`, `${who} asks`, form);
    this.add("theirs", `${who} asks`, element("p", "said", text));
  }

  on_question_closed({ number, why, text }) {
    this.close(`question ${number}`);
    if (why === "answered") this.add("mine", "You answered", element("p", "said", text));
    else if (why === "refused") this.note("The question was refused, as nobody was there");
    else this.note("Nobody waits for the answer any more");
  }

  on_approval({ number, request }) {
    const who = short(request.agent);
    const tool = visible(request.tool);
    const comment = element("input", "");
    comment.type = "text";
    const decide = (approve) => () => this.settle(`approval ${number}`, this.does.decide(number, approve, comment.value));
    const form = element(
      "form",
      "",
      element("pre", "arguments", readable(request.arguments)),
      element(
        "div",
        "actions",
        labelled("Comment, if you like", comment),
        button("Reject", "no", decide(false)),
        button("Approve", "yes", decide(true)),
      ),
    );
    form.onsubmit = (event) => event.preventDefault(); // Enter decides nothing
    this.card(`approval ${number}`, `${who} wants to use ${tool}`, form);
    this.note(`${who} wants to use ${tool}`);
  }

  on_approval_decided({ number, decision }) {
    const key = `approval ${number}`;
    const what = this.cards.get(key)?.title ?? "A request";
    this.close(key);
    const by = decision.by ? ` by ${short(decision.by)}` : "";
    const comment = decision.comment ? `: ${decision.comment}` : "";
    this.note(`${what}: ${decision.status}${by}${comment}`, decision.status);
  }

  on_gap({ missed, waiting }) {
    // Nobody says any more how these have ended; one that goes on begins a new entry.
    for (const turn of this.turns.values()) turn.lose();
    this.turns.clear();
    this.current = null;
    this.note(`${missed} earlier ${missed === 1 ? "entry is" : "entries are"} not kept any more`);
    for (const request of waiting) this.take(request);
  }

  on_ended({ reason }) {
    this.note(`Nobody is there any more: ${reason}`);
  }

  /** Of what waits for the person, keep what still does; the end of the rest was missed. */
  keep({ questions, approvals }) {
    const open = new Set([...questions.map((each) => `question ${each}`), ...approvals.map((each) => `approval ${each}`)]);
    for (const key of [...this.cards.keys()]) if (!open.has(key)) this.close(key);
    this.show();
  }

  /** Something the person has said, as long as nobody has heard it; returns what ends that. */
  pend(text, onTakeBack) {
    const entry = element("li", "entry mine", element("h3", "speaker", "You"), element("p", "said", text));
    this.pending.append(entry);
    this.atEnd = true;
    this.show();
    return (done) => {
      if (done.ok) {
        entry.remove();
      } else {
        const back = button("Take back", "quiet", () => {
          entry.remove();
          onTakeBack(text);
          this.show();
        });
        entry.append(element("p", "end failed", `Not said: ${done.text}`), back);
      }
      this.show();
    };
  }

  // Parts

  turn(number) {
    let turn = this.turns.get(number);
    if (turn === undefined) {
      turn = new Turn(number);
      this.turns.set(number, turn);
      this.current = number;
      this.append(turn.entry);
    }
    return turn;
  }

  add(side, speaker, ...body) {
    this.append(element("li", `entry ${side}`, element("h3", "speaker", speaker), element("div", "body", ...body)));
  }

  note(text, status) {
    const entry = element("li", "note", text);
    if (status) entry.dataset.status = status;
    this.append(entry);
  }

  append(entry) {
    this.log.append(entry);
    while (this.log.childElementCount > KEPT) this.log.firstElementChild.remove();
  }

  /** Something that waits for the person. */
  card(key, title, form) {
    if (this.cards.has(key)) return;
    const heading = element("h3", "", title);
    heading.id = `title-${key.replace(" ", "-")}`;
    const problem = element("p", "problem");
    problem.setAttribute("role", "alert");
    const fields = element("fieldset", "", form);
    const entry = element("li", "card", heading, fields, problem);
    entry.setAttribute("aria-labelledby", heading.id);
    const card = { title, entry, fields, problem };
    this.cards.set(key, card);
    this.requests.append(entry);
    fields.disabled = true;
    setTimeout(() => (fields.disabled = false), GUARD);
    this.news.textContent = title;
  }

  /** Wait for what becomes of what the person has done with a card. */
  async settle(key, doing) {
    const card = this.cards.get(key);
    if (card === undefined) return;
    card.problem.textContent = "";
    card.fields.disabled = true;
    const done = await doing;
    if (!done.ok) {
      card.problem.textContent = done.text;
      card.fields.disabled = false;
    }
  }

  close(key) {
    const card = this.cards.get(key);
    if (card === undefined) return;
    const held = card.entry.contains(document.activeElement) || card.fields.disabled;
    card.entry.remove();
    this.cards.delete(key);
    if (held) (this.requests.querySelector("textarea, input") ?? this.text).focus();
  }

  /** Whether there is nothing to be seen. */
  get isEmpty() {
    return !this.log.hasChildNodes() && !this.pending.hasChildNodes();
  }

  /** Bring the rest in line with what there is. */
  show() {
    const many = this.cards.size;
    this.waiting.hidden = many === 0;
    this.interrupt.hidden = this.current === null;
    this.empty.hidden = !this.isEmpty;
    document.title = `${many ? `(${many}) ` : ""}${document.getElementById("title").textContent}`;
    this.follow();
  }

  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.conversation;
    this.atEnd = scrollHeight - scrollTop - clientHeight < 40;
  }

  /** Stay at the end, if that is where the person is. */
  follow() {
    if (this.atEnd) this.conversation.scrollTop = this.conversation.scrollHeight;
  }
}
