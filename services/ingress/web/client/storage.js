// Where outboxes outlive the page: IndexedDB in browsers, memory elsewhere. Both have put, remove, adopt and close.
//
// Every page that is open owns its items and holds a lock of the owner's name (Web Locks). Another page of the same person
// inherits them with that lock, as soon as the first has ended: two tabs never send each other's messages. Where locks are
// missing they might, and the server, which knows the cid, keeps one.

/**
 * @typedef {import("./outbox.js").Stored} Stored
 * @typedef {Stored & {user: string, n: number}} Kept whose it is, and the order in which it came
 *
 * @typedef {object} Storage
 * @property {(item: Kept) => Promise<void>} put
 * @property {(key: string) => Promise<void>} remove
 * @property {(user: string, later: (items: Stored[]) => void) => Promise<Stored[]>} adopt what earlier pages of this user left,
 *   in order; it is ours from here on. later: what pages leave that are open now, when they end.
 * @property {() => void} [close]
 */

/**
 * An outbox that lasts as long as the process, or is given to the next client of the process.
 * @returns {Storage}
 *
 * @example
 * const storage = memoryStorage();
 * const parley = connect(url, { user: "alice", storage });
 */
export function memoryStorage() {
  /** @type {Map<string, Kept>} */
  const items = new Map();
  return {
    async put(item) { items.set(item.key, item); },
    async remove(key) { items.delete(key); },
    async adopt(user) { return [...items.values()].filter((i) => i.user === user); },
    close() {},
  };
}

const STORE = "outbox";

/** @param {string} name of the database: one for each server @returns {Storage} */
export function indexedStorage(name) {
  const me = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const locks = globalThis.navigator.locks; // undefined on pages without TLS
  const closing = new AbortController();
  let release = () => {};
  locks?.request(lockOf(name, me), () => new Promise((/** @type {(v?: any) => void} */ done) => { release = done; })).catch(() => {});
  const db = open(name);
  db.catch(() => {});

  /** Makes what these owners left ours. @param {string} user @param {(owner: string) => boolean} of @returns {Promise<Stored[]>} */
  const take = async (user, of) => {
    const all = await run(db, "readonly", (s) => s.getAll());
    const items = all.filter((/** @type {any} */ i) => i.user === user && i.owner !== me && of(i.owner));
    items.sort((/** @type {any} */ a, /** @type {any} */ b) => a.at - b.at || a.n - b.n);
    for (const item of items) await run(db, "readwrite", (s) => s.put({ ...item, owner: me }));
    return items;
  };

  /** @param {string} user @param {string} owner @param {(items: Stored[]) => void} later @returns {Promise<Stored[]>} */
  const inherit = async (user, owner, later) => {
    const now = await locks.request(lockOf(name, owner), { ifAvailable: true }, (lock) => lock && take(user, (o) => o === owner));
    if (now) return now;
    // That page is open, or is just being reloaded: its lock comes to us when it ends.
    locks.request(lockOf(name, owner), { signal: closing.signal }, () => take(user, (o) => o === owner))
      .then((items) => items.length > 0 && later(items), () => {});
    return [];
  };

  return {
    async put(item) { await run(db, "readwrite", (s) => s.put({ ...item, owner: me })); },
    async remove(key) { await run(db, "readwrite", (s) => s.delete(key)); },
    async adopt(user, later) {
      if (!locks) return take(user, () => true);
      const all = await run(db, "readonly", (s) => s.getAll());
      const owners = new Set(all.filter((/** @type {any} */ i) => i.user === user && i.owner !== me).map((/** @type {any} */ i) => i.owner));
      return (await Promise.all([...owners].map((owner) => inherit(user, owner, later)))).flat();
    },
    close() {
      closing.abort();
      release();
      db.then((d) => d.close(), () => {});
    },
  };
}

/** @param {string} name @param {string} owner */
const lockOf = (name, owner) => `${name}/${owner}`;

/** IndexedDB where there is one. @param {string} name @returns {Storage} */
export function defaultStorage(name) {
  return typeof indexedDB === "undefined" ? memoryStorage() : indexedStorage(name);
}

/** @param {string} name @returns {Promise<IDBDatabase>} */
function open(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {Promise<IDBDatabase>} db @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} act
 * @returns {Promise<any>}
 */
async function run(db, mode, act) {
  const tx = (await db).transaction(STORE, mode);
  const request = act(tx.objectStore(STORE));
  return new Promise((resolve, reject) => {
    tx.oncomplete = () => resolve(request.result);
    tx.onerror = tx.onabort = () => reject(tx.error);
  });
}
