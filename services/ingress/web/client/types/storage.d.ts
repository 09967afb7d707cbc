export type Stored = import("./outbox.js").Stored;
export type Kept = Stored & {
    user: string;
    n: number;
};
export type Storage = {
    put: (item: Kept) => Promise<void>;
    remove: (key: string) => Promise<void>;
    /**
     * what earlier pages of this user left, in order; it is ours from here on
     */
    adopt: (user: string) => Promise<Stored[]>;
    close?: () => void;
};
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
export declare function memoryStorage(): Storage;
/** @param {string} name of the database: one for each server @returns {Storage} */
export declare function indexedStorage(name: string): Storage;
/** IndexedDB where there is one. @param {string} name @returns {Storage} */
export declare function defaultStorage(name: string): Storage;
