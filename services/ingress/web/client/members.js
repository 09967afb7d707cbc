// Who is in a room, kept from presence events. The events are numbered; after a jump the machine asks for the whole, and
// its answer comes the same way.

/**
 * @typedef {{user: string, sessions: number, since?: number}} Member
 * @typedef {{users: Member[], count: number}} Presence users: empty where the room is too large to list them
 */

export class Members {
  /** @type {Map<string, Member>} */
  #users = new Map();
  #count = 0;
  /** @type {number | null} */
  #n = null;

  /**
   * Takes the answer to a presence request, or an event.
   * @param {Record<string, any>} frame @returns {boolean} whether anything changed
   */
  take({ users, on = [], off = [], count, n }) {
    if (users) {
      this.#users = new Map(users.map((/** @type {Member} */ u) => [u.user, u]));
      this.#count = count ?? users.length;
      this.#n = n ?? null;
      return true;
    }
    if (this.#n === null || n !== this.#n + 1) return false;
    this.#n = n;
    for (const user of on) if (!this.#users.has(user)) this.#users.set(user, { user, sessions: 1 });
    for (const user of off) this.#users.delete(user);
    if (count !== undefined) this.#users.clear();
    this.#count = count ?? this.#users.size;
    return true;
  }

  /** @returns {Presence} */
  snapshot() {
    return { users: [...this.#users.values()], count: this.#count };
  }
}
