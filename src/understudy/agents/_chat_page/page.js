// The page of a person: what the parts have to do with each other.

import { Link } from "./link.js";
import { View, grow, visible } from "./view.js";

const STATES = {
  connecting: "Connecting",
  open: "Connected",
  waiting: "Reconnecting",
  crowded: "Too many tabs, waiting",
  unauthorized: "Not connected: the token is not the right one",
  unknown: "Not connected: no token",
};
const KEY = "understudy-chat-token";

const find = (id) => document.getElementById(id);
const [text, composer, login, token] = ["text", "composer", "login", "token"].map(find);

function setState(name) {
  const state = find("state");
  state.textContent = STATES[name];
  state.dataset.state = name;
  find("retry").hidden = name !== "waiting" && name !== "crowded";
  const shut = name === "unauthorized" || name === "unknown";
  if (shut && login.hidden) {
    login.hidden = false;
    token.focus();
  }
  if (name === "open") login.hidden = true;
  find("foot").hidden = shut;
  find("conversation").hidden = shut && view.isEmpty;
  if (name === "unauthorized") sessionStorage.removeItem(KEY);
}

const view = new View({
  answer: (number, answer) => act({ kind: "answer", number, text: answer }),
  decide: (number, approve, comment) => act({ kind: "decide", number, approve, comment }),
});

const link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`, {
  state: setState,
  welcome: ({ title, resumed }) => {
    find("title").textContent = visible(title);
    if (!resumed) view.clear();
    view.show();
  },
  delivery: (delivery) => view.take(delivery),
  open: (frame) => view.keep(frame),
});

async function act(facts) {
  const doing = link.act(facts);
  return doing === null ? { ok: false, text: "it is too long" } : await doing;
}

// Saying something

function takeBack(said) {
  text.value = text.value ? `${said}\n${text.value}` : said;
  grow(text);
  text.focus();
}

composer.onsubmit = async (event) => {
  event.preventDefault();
  const said = text.value;
  if (!said.trim()) return;
  text.value = "";
  grow(text);
  text.focus();
  const end = view.pend(said, takeBack);
  end(await act({ kind: "say", text: said }));
};

text.oninput = () => grow(text);
text.onkeydown = (event) => {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    composer.requestSubmit();
  }
};

const interrupt = () => act({ kind: "interrupt" });
find("interrupt").onclick = interrupt;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !find("interrupt").hidden) interrupt();
});

// Connecting

find("retry").onclick = () => link.retry();

login.onsubmit = (event) => {
  event.preventDefault();
  begin(token.value.trim());
  token.value = "";
};

function begin(given) {
  sessionStorage.setItem(KEY, given); // of this tab only, so that it can be loaded anew
  login.hidden = true;
  link.start(given);
}

/** The token in the fragment of the address, which is removed there. */
function fromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  return found;
}

function enter() {
  const given = fromAddress() ?? sessionStorage.getItem(KEY);
  if (given) begin(given);
  else setState("unknown");
}

addEventListener("hashchange", () => {
  const given = fromAddress();
  if (given) begin(given);
});
enter();
