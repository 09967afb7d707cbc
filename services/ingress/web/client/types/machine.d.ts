import * as O from "./outbox.js";
import * as Q from "./requests.js";
import * as R from "./rooms.js";
export type Frame = Record<string, any>;
export type Cursor = {
    epoch: string;
    seq: number;
};
export type Effect = Record<string, any> & {
    do: string;
};
export type Failure = {
    code: string;
    message?: string;
    retry_after_ms?: number;
};
export type Link = {
    n: number;
    url: string;
    dialing: boolean;
    welcomed: boolean;
    /**
     * when it was opened, then welcomed
     */
    since: number;
    heard: number;
    ping: number;
    /**
     * an answer is due then; 0: none is
     */
    probeBy: number;
    helloId: number;
    /**
     * rooms that the hello named
     */
    hello: Set<string>;
    /**
     * of those, without joined or error yet
     */
    waiting: Set<string>;
    /**
     * what an error to hello asked for
     */
    retry: number;
    error: Failure | null;
};
export type Config = {
    urls: string[];
    /**
     * dev auth
     */
    user?: string;
    agent?: string;
    /**
     * fresh tokens can be had
     */
    renew?: boolean;
    /**
     * in [0, 1)
     */
    random?: () => number;
    /**
     * of the backoff, in ms
     */
    base?: number;
    cap?: number;
    /**
     * most requests of the user's without a reply
     */
    pending?: number;
    /**
     * most sends of a room on the wire at once; 0: no bound
     */
    window?: number;
    /**
     * sends wait for `restore`: what an earlier page left goes first
     */
    restores?: boolean;
};
/**
 * @typedef {Record<string, any>} Frame an object as on the wire
 * @typedef {{epoch: string, seq: number}} Cursor
 * @typedef {Record<string, any> & {do: string}} Effect
 * @typedef {{code: string, message?: string, retry_after_ms?: number}} Failure
 *
 * @typedef {object} Link one connection
 * @property {number} n
 * @property {string} url
 * @property {boolean} dialing
 * @property {boolean} welcomed
 * @property {number} since when it was opened, then welcomed
 * @property {number} heard
 * @property {number} ping
 * @property {number} probeBy an answer is due then; 0: none is
 * @property {number} helloId
 * @property {Set<string>} hello rooms that the hello named
 * @property {Set<string>} waiting of those, without joined or error yet
 * @property {number} retry what an error to hello asked for
 * @property {Failure | null} error
 *
 * @typedef {object} Config
 * @property {string[]} urls
 * @property {string} [user] dev auth
 * @property {string} [agent]
 * @property {boolean} [renew] fresh tokens can be had
 * @property {() => number} [random] in [0, 1)
 * @property {number} [base] of the backoff, in ms
 * @property {number} [cap]
 * @property {number} [pending] most requests of the user's without a reply
 * @property {number} [window] most sends of a room on the wire at once; 0: no bound
 * @property {boolean} [restores] sends wait for `restore`: what an earlier page left goes first
 */
export declare class Machine {
    #private;
    config: {
        urls: string[];
        user: string;
        agent: string;
        renew: boolean;
        random: () => number;
        base: number;
        cap: number;
        pending: number;
        window: number;
        restores: boolean;
    };
    now: number;
    /** @type {Effect[]} */ out: Effect[];
    /** @type {Link | null} */ current: Link | null;
    /** @type {Link | null} */ next: Link | null;
    /** @type {Link | null} */ old: Link | null;
    links: number;
    urls: string[];
    urlAt: number;
    moveTo: string;
    attempt: number;
    expired: boolean;
    dialAt: number;
    renewAt: number;
    running: boolean;
    restored: boolean;
    ids: number;
    /** Without a reply, in the order they were made. @type {Q.Request[]} */ reqs: Q.Request[];
    /** In the order they were joined. @type {Map<string, R.RoomState>} */ rooms: Map<string, R.RoomState>;
    /** @type {Map<string, O.Item[]>} */ outbox: Map<string, O.Item[]>;
    /** @type {Map<string, string>} what was last said of each outbox */ reported: Map<string, string>;
    user: string;
    resume: string;
    /** @param {Config} config */
    constructor(config: Config);
    /** @param {Frame} input @param {number} now ms @returns {Effect[]} to be carried out in order */
    step(input: Frame, now: number): Effect[];
    /** @param {Effect} effect */
    do(effect: Effect): void;
    /** When the next tick would do something; Infinity: never. */
    get deadline(): number;
    /** @param {number | undefined} left ms until the token expires */
    renew(left: number | undefined): void;
    /** @param {number} n @returns {Link | undefined} */
    find(n: number): Link | undefined;
}
/** @param {string} [reason] @returns {Failure} */
export declare function closedError(reason?: string): Failure;
