// The connection with the server: it comes back by itself, and says again what was not heard.

export const UNAUTHORIZED = 4401;
export const CROWDED = 4429;

const FIRST_DELAY = 500; // milliseconds
const LAST_DELAY = 15_000;
const PATIENCE = 10_000; // for a connection to open

/** A name for an act that nobody else has given to one. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Link {
  /**
   * @param {string} url where the WebSocket is
   * @param {object} hears what is called with what happens: `state(name)`, `welcome(frame)`,
   *   `delivery(delivery)`, `open(frame)`
   */
  constructor(url, hears) {
    this.url = url;
    this.hears = hears;
    this.token = "";
    this.session = "";
    this.after = 0; // the cursor of the last delivery that the page shows
    this.maxBytes = Infinity;
    this.socket = null;
    this.delay = FIRST_DELAY;
    this.timer = 0;
    this.welcomed = false;
    this.acts = new Map(); // those without an answer: by id, the frame and what is to be told of it
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retry());
  }

  /** Connect, now and whenever the connection was lost. */
  start(token) {
    this.token = token;
    this.connect();
  }

  /** Wait no longer. */
  retry() {
    if (this.timer) {
      this.delay = FIRST_DELAY;
      this.connect();
    }
  }

  /** Do something; what becomes of it is told once, however often it has to be said. Null: it is too long. */
  act(facts) {
    const id = newId();
    const frame = JSON.stringify({ ...facts, id });
    if (new TextEncoder().encode(frame).length > this.maxBytes) return null;
    return new Promise((resolve) => {
      this.acts.set(id, { frame, resolve });
      if (this.welcomed) this.socket.send(frame);
    });
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.hears.state("connecting");
    const before = this.socket;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.welcomed = false;
    before?.close();
    const late = setTimeout(() => socket.close(), PATIENCE);
    socket.onopen = () => {
      clearTimeout(late);
      const { token, session, after } = this;
      socket.send(JSON.stringify({ kind: "hello", token, session, after }));
    };
    socket.onmessage = (event) => this.socket === socket && this.take(JSON.parse(event.data));
    socket.onclose = (event) => {
      clearTimeout(late);
      if (this.socket === socket) this.lost(event.code);
    };
  }

  take(frame) {
    if (frame.kind === "welcome") {
      if (!frame.resumed) this.after = 0;
      this.session = frame.session;
      this.maxBytes = frame.max_bytes;
      this.welcomed = true;
      this.delay = FIRST_DELAY;
      this.hears.welcome(frame);
      this.hears.state("open");
      for (const act of this.acts.values()) this.socket.send(act.frame);
    } else if (frame.kind === "delivery") {
      this.after = frame.delivery.cursor;
      this.hears.delivery(frame.delivery);
    } else if (frame.kind === "open") {
      this.hears.open(frame);
    } else if (frame.kind === "done") {
      const act = this.acts.get(frame.id);
      this.acts.delete(frame.id);
      act?.resolve(frame);
    }
  }

  lost(code) {
    this.socket = null;
    this.welcomed = false;
    if (code === UNAUTHORIZED) {
      this.hears.state("unauthorized");
      return;
    }
    this.hears.state(code === CROWDED ? "crowded" : "waiting");
    // Not all tabs at once.
    this.timer = setTimeout(() => this.connect(), this.delay * (0.75 + Math.random() / 2));
    this.delay = Math.min(this.delay * 2, LAST_DELAY);
  }
}
