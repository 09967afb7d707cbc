// The window onto a room's log that is on the page: entries that follow each other, never more than MAX. Scrolling moves
// it; what it leaves stays in a bounded cache, so that going back asks the server only for what was never here.

export const MAX = 260;
export const STEP = 60;
const CACHED = 2000;

export class Timeline {
  entries = [];
  /** The newest entry there is, and the oldest that is kept. */
  head = 0;
  floor = 1;
  #cache = new Map();

  get low() { return this.entries[0]?.seq ?? this.head + 1; }
  get high() { return this.entries.at(-1)?.seq ?? this.head; }
  /** True when nothing newer exists; false after scrolling far back. */
  get atEnd() { return this.high >= this.head; }
  get atStart() { return this.low <= this.floor; }

  /** A new entry. @param {boolean} follow the reader is at the end and wants to stay there */
  push(entry, follow) {
    const next = this.atEnd;
    this.head = Math.max(this.head, entry.seq);
    this.#keep([entry]);
    if (!next || (!follow && this.entries.length >= MAX)) return;
    this.entries.push(entry);
    if (this.entries.length > MAX) this.entries.splice(0, this.entries.length - MAX);
  }

  /** Moves to older entries as far as they are cached. @returns {object | null} what to ask the server for */
  older() {
    if (this.atStart) return null;
    const list = this.#run(this.low - 1, -1);
    if (list.length === 0) return { before: this.low, limit: STEP };
    this.#prepend(list.reverse());
    return null;
  }

  newer() {
    if (this.atEnd) return null;
    const list = this.#run(this.high + 1, 1);
    if (list.length === 0) return { after: this.high, limit: STEP };
    this.#append(list);
    return null;
  }

  /** Takes the answer to what `older` or `newer` asked for. */
  add({ before, after }, page) {
    this.#took(page);
    this.#keep(page.entries);
    if (before !== undefined && before === this.low) {
      if (page.entries.length === 0) this.floor = this.low;
      this.#prepend(page.entries);
    }
    if (after !== undefined && after === this.high) {
      if (page.entries.length === 0) this.head = this.high;
      this.#append(page.entries);
    }
  }

  /** Shows this page instead of what was shown. */
  show(page) {
    this.#took(page);
    this.#keep(page.entries);
    this.entries = [...page.entries];
  }

  /** The log goes by another epoch: nothing that was seen counts. */
  clear() {
    this.entries = [];
    this.#cache.clear();
    this.head = 0;
    this.floor = 1;
  }

  #took({ floor, head }) {
    this.floor = floor ?? this.floor;
    this.head = Math.max(this.head, head ?? 0);
  }

  #prepend(list) {
    this.entries = [...list, ...this.entries].slice(0, MAX);
  }

  #append(list) {
    this.entries = [...this.entries, ...list].slice(-MAX);
  }

  #run(seq, step) {
    const list = [];
    for (; list.length < STEP && this.#cache.has(seq); seq += step) list.push(this.#cache.get(seq));
    return list;
  }

  #keep(list) {
    for (const e of list) this.#cache.set(e.seq, e);
    for (const seq of this.#cache.keys()) {
      if (this.#cache.size <= CACHED) return;
      this.#cache.delete(seq);
    }
  }
}
