// The state of the connection, in words that are true at the moment they are read.

import { setText } from "./rooms.js";

const MOVED_FOR = 6000; // ms that "moved to another server" stays

export class Status {
  #parley; #ticker; #said;

  constructor(parley) {
    this.#parley = parley;
    const again = document.getElementById("reconnect");
    again.onclick = () => parley.start();
    this.show(parley.status);
    globalThis.ononline = globalThis.onoffline = () => this.show(parley.status);
  }

  show(status) {
    clearTimeout(this.#ticker);
    const el = document.getElementById("status");
    el.dataset.state = status.state;
    el.toggleAttribute("data-moved", !!status.moved);
    el.title = status.node ? `Server ${status.node}` : status.reason ?? "";
    setText(document.getElementById("status-text"), words(status, Date.now()));
    const again = document.getElementById("reconnect");
    again.hidden = status.state !== "closed";
    again.textContent = again.hidden ? "" : "Connect";
    this.#announce(status);
    if (status.state === "reconnecting") this.#ticker = setTimeout(() => this.show(status), 250);
    if (status.moved) this.#ticker = setTimeout(() => this.show({ ...status, moved: false }), MOVED_FOR);
  }

  /** Once per state: a count-down is nothing to listen to. */
  #announce(status) {
    const said = status.moved ? "moved" : status.state;
    if (said === this.#said) return;
    const first = this.#said === undefined;
    this.#said = said;
    if (!first) setText(document.getElementById("status-said"), words({ ...status, retry_at: undefined }, Date.now()));
  }

  stop() {
    clearTimeout(this.#ticker);
    globalThis.ononline = globalThis.onoffline = null;
  }
}

/** @returns {string} what `status` means to the person in front of it */
export function words({ state, moved, retry_at, reason }, now, offline = globalThis.navigator?.onLine === false) {
  switch (state) {
    case "open": return moved ? "Moved to another server" : "Connected";
    case "moving": return "Moving to another server…";
    case "connecting": return offline ? "You are offline" : "Connecting…";
    case "reconnecting": {
      const seconds = Math.ceil((retry_at - now) / 1000);
      const when = retry_at === undefined ? "" : seconds > 0 ? ` in ${seconds} s` : " now";
      return offline ? `You are offline; trying again${when}` : `Reconnecting${when}`;
    }
    default: return reason ? `Disconnected: ${reason}` : "Disconnected";
  }
}
