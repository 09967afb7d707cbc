import { Emitter } from "./emitter.js";
import { ParleyError } from "./policy.js";
import { Room } from "./room.js";
import { memoryStorage } from "./storage.js";
export { ParleyError, Room, memoryStorage };
export type Options = {
    /**
     * a JWT, or what returns a fresh one;
     * it is asked before each connect and before the old one expires; refresh: a cached one will not do
     */
    token?: string | ((why: {
        refresh: boolean;
    }) => string | Promise<string>);
    /**
     * the name, where the server runs with dev auth
     */
    user?: string;
    /**
     * for runtimes without a global one (Node before 22)
     */
    WebSocket?: typeof globalThis.WebSocket;
    /**
     * what the session is called in presence answers, at most 256 characters
     */
    agent?: string;
    /**
     * where outboxes are kept; false: in memory
     */
    storage?: import("./storage.js").Storage | false;
    /**
     * most messages of a room under way at once, 1 unless said otherwise: with more, one may overtake
     * another that the server refused for the moment; 0: no bound
     */
    window?: number;
    /**
     * most requests and messages without a reply, 1024 unless said otherwise
     */
    pending?: number;
    /**
     * the first and the longest wait before connecting again, in ms: 500, 30000
     */
    backoff?: {
        base?: number;
        cap?: number;
    };
    /**
     * for tests, in [0, 1)
     */
    random?: () => number;
};
export type Status = {
    state: 'connecting' | 'open' | 'moving' | 'reconnecting' | 'closed';
    /**
     * open: on another connection than before, without a break
     */
    moved?: boolean;
    /**
     * open: the server's name
     */
    node?: string;
    /**
     * open
     */
    session?: string;
    /**
     * open
     */
    user?: string;
    /**
     * open
     */
    url?: string;
    /**
     * reconnecting: Unix ms
     */
    retry_at?: number;
    /**
     * reconnecting, closed: the WebSocket's close code; 0: no connection came about
     */
    code?: number;
    /**
     * the server's error code, where it gave one
     */
    error?: string;
    /**
     * for people
     */
    reason?: string;
};
export type Cursor = {
    epoch: string;
    seq: number;
};
export type Presence = import("./members.js").Presence;
export type Item = import("./outbox.js").Item;
export type Sessions = {
    count: number;
    sessions?: {
        session: string;
        node: string;
        agent: string;
        since: number;
        rooms: string[];
    }[];
};
/**
 * @typedef {object} Options pass `token` or `user`
 * @property {string | ((why: {refresh: boolean}) => string | Promise<string>)} [token] a JWT, or what returns a fresh one;
 *   it is asked before each connect and before the old one expires; refresh: a cached one will not do
 * @property {string} [user] the name, where the server runs with dev auth
 * @property {typeof globalThis.WebSocket} [WebSocket] for runtimes without a global one (Node before 22)
 * @property {string} [agent] what the session is called in presence answers, at most 256 characters
 * @property {import("./storage.js").Storage | false} [storage] where outboxes are kept; false: in memory
 * @property {number} [window] most messages of a room under way at once, 1 unless said otherwise: with more, one may overtake
 *   another that the server refused for the moment; 0: no bound
 * @property {number} [pending] most requests and messages without a reply, 1024 unless said otherwise
 * @property {{base?: number, cap?: number}} [backoff] the first and the longest wait before connecting again, in ms: 500, 30000
 * @property {() => number} [random] for tests, in [0, 1)
 *
 * @typedef {object} Status
 * @property {'connecting' | 'open' | 'moving' | 'reconnecting' | 'closed'} state
 * @property {boolean} [moved] open: on another connection than before, without a break
 * @property {string} [node] open: the server's name
 * @property {string} [session] open
 * @property {string} [user] open
 * @property {string} [url] open
 * @property {number} [retry_at] reconnecting: Unix ms
 * @property {number} [code] reconnecting, closed: the WebSocket's close code; 0: no connection came about
 * @property {string} [error] the server's error code, where it gave one
 * @property {string} [reason] for people
 *
 * @typedef {{epoch: string, seq: number}} Cursor
 * @typedef {import("./members.js").Presence} Presence
 * @typedef {import("./outbox.js").Item} Item
 * @typedef {{count: number, sessions?: {session: string, node: string, agent: string, since: number, rooms: string[]}[]}} Sessions
 */
/**
 * Connects, and stays connected until `close`. Returns at once; listen to `status`.
 * @param {string | string[]} url one address or several: ws, wss, http or https, in browsers also relative; `/ws` is added to
 *   a bare host. More are learned from the server.
 * @param {Options} [options]
 * @returns {Parley}
 *
 * @example
 * const parley = connect("http://127.0.0.1:8080", { user: "alice" });
 * const room = await parley.join("general");
 * room.on("message", ({ from, body }) => console.log(from, body.text));
 * await room.send({ text: "hello" });
 */
export declare function connect(url: string | string[], options?: Options): Parley;
/**
 * A connection that heals itself. Event `status`: see Status.
 * @extends {Emitter<{status: Status}>}
 */
export declare class Parley extends Emitter<{
    status: Status;
}> {
    #private;
    /** The last `status` event. @type {Status} */
    status: Status;
    /** The user's name as the server knows it; "" before the first welcome with a token. */
    get user(): string;
    /** The server's limits, as of the last welcome: `body_bytes`, `frame_bytes`, `rooms`, `rate`, `burst`. */
    get limits(): {
        [x: string]: number;
    };
    /**
     * Joins a room and stays in it through every reconnect. Resolves when the server has answered. Listeners that must not
     * miss the first entries go on `room(name)` before. A room that is joined stays as it is, unless `last` or `since` asks
     * for another place in its log.
     * @param {string} name
     * @param {{last?: number, since?: Cursor, signal?: AbortSignal}} [options] last: how many of the newest entries come
     *   first (≤ 200); since: continue a stream that an earlier process has read up to here; signal: give up waiting, and leave
     * @returns {Promise<Room>}
     *
     * @example
     * const room = parley.room("general");
     * room.on("message", show);
     * await parley.join("general", { last: 50 });
     */
    join(name: string, { last, since, signal }?: {
        last?: number;
        since?: Cursor;
        signal?: AbortSignal;
    }): Promise<Room>;
    /**
     * The room of this name, joined or not; always the same object.
     * @param {string} name @returns {Room}
     */
    room(name: string): Room;
    /**
     * A user's sessions; of oneself also which they are.
     * @param {string} [user] @returns {Promise<Sessions>}
     *
     * @example
     * const { sessions } = await parley.presence(); // mine: where am I signed in?
     */
    presence(user?: string): Promise<Sessions>;
    /** Connects again after `closed`: rooms are resumed where they were, and what waits is sent. */
    start(): void;
    /** Ends the connection for good. What waits in outboxes is kept where there is a storage. */
    close(): void;
}
