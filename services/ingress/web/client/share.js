// One socket for all tabs of the same user ({shareSocket: true}). One tab leads: it holds a lock (Web Locks), has the relay
// with the real WebSocket, and speaks with the others over a BroadcastChannel. When it is closed the lock goes to another
// tab; the others' links end like a broken line, and their machines resume through the new one with their own cursors and
// outboxes, so that nothing is lost. A leader that does not answer (a frozen tab) has the lock taken from it.

import { Relay } from "./relay.js";

const ANSWER_WITHIN = 4000; // ms for a leader to take a link

/** @typedef {import("./relay.js").Link} Link */

/** Whether tabs can share here: both are missing in Node, and locks on pages without TLS. */
export const canShare = () => typeof BroadcastChannel !== "undefined" && globalThis.navigator?.locks !== undefined;

/** What tabs of the same user have in common; a token's user is its `sub`. @param {string} server @param {string} [user] @param {string} [token] */
export function shareName(server, user, token) {
  let who = user;
  try {
    if (token) who = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0)))).sub;
  } catch { /* no JWT that can be read: only the very same token is the same user */ }
  return `parley ${server} ${who ? `user ${who}` : `token ${token}`}`;
}

/** This tab's part in sharing. */
export class Share {
  #name; #channel; #WebSocket; #gone;
  #me = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #leader = "";
  /** @type {Relay | null} */ #relay = null;
  /** @type {Map<string, SharedSocket>} this tab's */ #sockets = new Map();
  /** @type {Map<string, Map<string, Link>>} of the tabs that are led, by tab */ #tabs = new Map();
  #closing = new AbortController();
  #yield = () => {};
  #release = () => {};
  #count = 0;

  /** @param {string} name @param {typeof globalThis.WebSocket} WebSocket @param {() => void} gone a tab may have ended, and left an outbox */
  constructor(name, WebSocket, gone) {
    this.#name = name;
    this.#gone = gone;
    this.#WebSocket = WebSocket;
    this.#channel = new BroadcastChannel(name);
    // Whoever leads sees by this lock that the tab is there; so nothing is said before it is ours.
    navigator.locks.request(this.#tabLock(this.#me), () => new Promise((/** @type {(v?: any) => void} */ done) => {
      this.#release = done;
      if (this.#closing.signal.aborted) return done();
      this.#channel.onmessage = ({ data }) => (data.to === undefined || data.to === this.#me) && this.#on(data);
      this.#stand({ signal: this.#closing.signal });
      this.#post({ type: "who" });
    })).catch(() => {});
  }

  /** @param {string} url @returns {SharedSocket} */
  open(url) {
    const socket = new SharedSocket(`${this.#me}/${++this.#count}`, url, {
      say: (v, data) => this.#post({ to: this.#leader, type: "say", v, data }),
      close: (v, code) => {
        this.#sockets.delete(v);
        this.#post({ to: this.#leader, type: "close", v, code });
      },
      late: () => this.#stand({ steal: true }),
    });
    this.#sockets.set(socket.v, socket);
    if (this.#leader) this.#request(socket); // else as soon as there is one
    return socket;
  }

  close() {
    this.#closing.abort();
    for (const socket of this.#sockets.values()) socket.close(1000);
    this.#resign();
    this.#yield();
    this.#release();
    this.#channel.close();
  }

  // ---- leading

  /** Leads as soon as the lock is ours, until it is taken or given up. @param {LockOptions} options */
  #stand(options) {
    navigator.locks.request(this.#name, options, () => new Promise((/** @type {(v?: any) => void} */ done) => {
      if (this.#closing.signal.aborted) return done();
      this.#yield = done;
      this.#relay ??= new Relay(this.#WebSocket);
      this.#on({ type: "lead", from: this.#me });
      this.#post({ type: "lead" });
      this.#gone();
    })).catch(() => {
      if (this.#closing.signal.aborted) return;
      this.#resign(); // another tab took it, because we did not answer
      if (!options.steal) this.#stand({ signal: this.#closing.signal });
    });
  }

  #resign() {
    this.#relay?.close();
    this.#relay = null;
    this.#tabs.clear();
  }

  /** @param {string} tab */
  #tabLock(tab) { return `${this.#name}/tab ${tab}`; }

  /** @param {string} tab @param {string} v @param {string} url */
  #take(tab, v, url) {
    if (!this.#relay) return;
    let links = this.#tabs.get(tab);
    if (!links) {
      this.#tabs.set(tab, links = new Map());
      if (tab !== this.#me) {
        navigator.locks.request(this.#tabLock(tab), { signal: this.#closing.signal }, () => this.#lost(tab)).catch(() => {});
      }
    }
    this.#post({ to: tab, type: "taken", v });
    if (links.has(v)) return;
    const link = this.#relay.open(url, ({ opened, closed, frame }) => {
      if (closed) links.delete(v);
      this.#post({ to: tab, type: "told", v, opened, closed, data: frame && JSON.stringify(frame) });
    });
    if (!link.gone) links.set(v, link);
  }

  /** A tab is closed, or has crashed. @param {string} tab */
  #lost(tab) {
    for (const link of this.#tabs.get(tab)?.values() ?? []) link.trunk.hangUp(link, 1000);
    this.#tabs.delete(tab);
    this.#gone();
  }

  // ---- what tabs say to each other

  /** @param {Record<string, any>} message */
  #post(message) {
    /** @type {Record<string, any>} */ const m = { from: this.#me, ...message };
    if (m.to === this.#me) return queueMicrotask(() => this.#on(m));
    if (m.to === "") return;
    try { this.#channel.postMessage(m); } catch { /* it is closed */ }
  }

  /** @param {SharedSocket} socket */
  #request(socket) {
    socket.asked(ANSWER_WITHIN);
    this.#post({ to: this.#leader, type: "open", v: socket.v, url: socket.url });
  }

  /** @param {Record<string, any>} m */
  #on(m) {
    switch (m.type) {
      case "who": return this.#relay ? this.#post({ to: m.from, type: "lead" }) : undefined;
      case "lead": return this.#led(m.from);
      case "open": return this.#take(m.from, m.v, m.url);
      case "say": return this.#link(m, (link) => link.trunk.say(link, JSON.parse(m.data)));
      case "close": return this.#link(m, (link) => {
        this.#tabs.get(m.from)?.delete(m.v);
        link.trunk.hangUp(link, m.code);
      });
      case "taken": return this.#sockets.get(m.v)?.taken();
      case "told": return this.#told(m);
    }
  }

  /** @param {string} leader */
  #led(leader) {
    if (leader === this.#leader) return;
    this.#leader = leader;
    for (const socket of [...this.#sockets.values()]) {
      if (socket.readyState === 0) this.#request(socket);
      else this.#told({ v: socket.v, closed: { code: 1006, reason: "the tab that had the socket is gone" } });
    }
  }

  /** @param {Record<string, any>} m @param {(link: Link) => void} then */
  #link({ from, v }, then) {
    const link = this.#tabs.get(from)?.get(v);
    if (link) then(link);
  }

  /** @param {Record<string, any>} m */
  #told({ v, opened, closed, data }) {
    const socket = this.#sockets.get(v);
    if (closed) this.#sockets.delete(v);
    socket?.told(opened, closed, data);
  }
}

/** What the client takes for a WebSocket. */
class SharedSocket {
  readyState = 0;
  /** @type {(() => void) | null} */ onopen = null;
  /** @type {((e: {data: string}) => void) | null} */ onmessage = null;
  /** @type {((e: {code: number, reason: string}) => void) | null} */ onclose = null;
  /** @type {(() => void) | null} */ onerror = null;
  #out;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @param {string} v its name among all tabs' @param {string} url
   * @param {{say: (v: string, data: string) => void, close: (v: string, code: number) => void, late: () => void}} out */
  constructor(v, url, out) {
    this.v = v;
    this.url = url;
    this.#out = out;
    this.asked(ANSWER_WITHIN);
  }

  /** @param {string} data */
  send(data) { if (this.readyState === 1) this.#out.say(this.v, data); }

  /** @param {number} [code] */
  close(code = 1000) {
    if (this.readyState === 3) return;
    this.taken();
    this.readyState = 3;
    this.#out.close(this.v, code);
  }

  /** @internal a leader is to answer by then @param {number} within ms */
  asked(within) {
    this.taken();
    this.#timer = setTimeout(this.#out.late, within);
  }

  /** @internal */
  taken() { clearTimeout(this.#timer); }

  /** @internal @param {boolean} [opened] @param {{code: number, reason: string}} [closed] @param {string} [data] */
  told(opened, closed, data) {
    if (this.readyState === 3) return;
    if (opened) {
      this.readyState = 1;
      this.onopen?.();
    } else if (data !== undefined) {
      this.onmessage?.({ data });
    } else if (closed) {
      this.taken();
      this.readyState = 3;
      this.onclose?.(closed);
    }
  }
}
