// Where outboxes outlive the page: IndexedDB in browsers, memory elsewhere. Both have put, remove, adopt and close.
//
// Every page that is open owns its items and holds a lock of the owner's name (Web Locks). A page that starts adopts the
// items of owners that hold no lock: pages that were closed. Two tabs of one person so never send each other's messages;
// where locks are missing they might, and the server, which knows the cid, keeps one.

/**
 * @typedef {import("./outbox.js").Stored} Stored
 * @typedef {Stored & {user: string, n: number}} Kept whose it is, and the order in which it came
 *
 * @typedef {object} Storage
 * @property {(item: Kept) => Promise<void>} put
 * @property {(key: string) => Promise<void>} remove
 * @property {(user: string) => Promise<Stored[]>} adopt what earlier pages of this user left, in order; it is ours from here on
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
  const owner = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const lock = `${name}/${owner}`;
  let release = () => {};
  const held = navigator.locks?.request(lock, () => new Promise((/** @type {(v?: any) => void} */ done) => { release = done; }));
  held?.catch(() => {});
  const db = open(name);
  db.catch(() => {});
  return {
    async put(item) { await run(db, "readwrite", (s) => s.put({ ...item, owner })); },
    async remove(key) { await run(db, "readwrite", (s) => s.delete(key)); },
    async adopt(user) {
      const alive = await lockNames();
      const all = await run(db, "readonly", (s) => s.getAll());
      const mine = all.filter((/** @type {any} */ i) => i.user === user && !alive.has(`${name}/${i.owner}`));
      mine.sort((/** @type {any} */ a, /** @type {any} */ b) => a.at - b.at || a.n - b.n);
      for (const item of mine) await run(db, "readwrite", (s) => s.put({ ...item, owner }));
      return mine;
    },
    close() {
      release();
      db.then((d) => d.close(), () => {});
    },
  };
}

/** IndexedDB where there is one. @param {string} name @returns {Storage} */
export function defaultStorage(name) {
  return typeof indexedDB === "undefined" ? memoryStorage() : indexedStorage(name);
}

async function lockNames() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return new Set(held.map((l) => l.name));
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
