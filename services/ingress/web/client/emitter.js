/** Calls listeners; one that throws is reported and stops nobody. @template {Record<string, any>} Events */
export class Emitter {
  /** @type {Map<keyof Events, Set<(data: any) => void>>} */
  #listeners = new Map();

  /**
   * @template {keyof Events} E
   * @param {E} event
   * @param {(data: Events[E]) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(event, listener) {
    const all = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, all.add(listener));
    return () => void all.delete(listener);
  }

  /** @internal @template {keyof Events} E @param {E} event @param {Events[E]} data */
  _emit(event, data) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try { listener(data); } catch (err) { console.error(`parley: a listener of "${String(event)}" failed`, err); }
    }
  }
}
