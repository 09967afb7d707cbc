export type Machine = import("./machine.js").Machine;
export type Frame = import("./machine.js").Frame;
export type Cursor = import("./machine.js").Cursor;
export type Failure = import("./machine.js").Failure;
export type Request = import("./requests.js").Request;
export type RoomState = import("./rooms.js").RoomState;
export type State = 'waiting' | 'sending' | 'checking' | 'sent' | 'failed' | 'maybe';
export type Item = {
    /**
     * stays the same through retries; for the user interface
     */
    key: string;
    room: string;
    cid: string;
    body: any;
    /**
     * Unix ms when it was handed over
     */
    at: number;
    /**
     * of one that is under way: as reported last
     */
    state: State;
    /**
     * why it failed
     */
    error: {
        code: string;
        message?: string;
    } | null;
    /**
     * where the log has it
     */
    seq?: number;
};
export type Stored = Item & {
    since: Cursor | null;
};
/**
 * @typedef {import("./machine.js").Machine} Machine
 * @typedef {import("./machine.js").Frame} Frame
 * @typedef {import("./machine.js").Cursor} Cursor
 * @typedef {import("./machine.js").Failure} Failure
 * @typedef {import("./requests.js").Request} Request
 * @typedef {import("./rooms.js").RoomState} RoomState
 *
 * @typedef {'waiting' | 'sending' | 'checking' | 'sent' | 'failed' | 'maybe'} State
 *
 * @typedef {object} Item
 * @property {string} key stays the same through retries; for the user interface
 * @property {string} room
 * @property {string} cid
 * @property {any} body
 * @property {number} at Unix ms when it was handed over
 * @property {State} state of one that is under way: as reported last
 * @property {{code: string, message?: string} | null} error why it failed
 * @property {number} [seq] where the log has it
 *
 * @typedef {Item & {since: Cursor | null}} Stored what the storage keeps of an item
 */
/** @param {Machine} m @param {number} ref @param {Frame} message room, cid, body, and of a shell: key, at */
export declare function send(m: Machine, ref: number, { room: name, cid, body, key, at }: Frame): void;
/** Items of an earlier life of the page; they go before what was said since. @param {Machine} m @param {Stored[]} items */
export declare function restore(m: Machine, items: Stored[]): void;
/**
 * The person decides about an item that is not under way: again, under a new cid and as the newest, or not at all.
 * @param {Machine} m @param {string} name @param {string} key @param {boolean} again @param {string} cid @param {number} at
 */
export declare function decide(m: Machine, name: string, key: string, again: boolean, cid: string, at: number): void;
/** @param {Machine} m @param {Item} item */
export declare function drop(m: Machine, item: Item): void;
/** How many sends of each room are on the wire. @param {Machine} m @returns {Map<string, number>} */
export declare function flying(m: Machine): Map<string, number>;
/**
 * What was tried before waits until the catch-up is through, since its own entry may come by; after a break in the
 * stream it is looked for in history first.
 * @param {Machine} m @param {RoomState} room @param {Request} r
 */
export declare function maySend(m: Machine, room: RoomState, r: Request): boolean;
/** Notes the cursor at the first try, and carries it on a resend. @param {Machine} m @param {RoomState} room @param {Request} r */
export declare function prepare(m: Machine, room: RoomState, r: Request): void;
/** @param {Machine} m @param {Request} r @param {number} seq @param {number} ts @param {boolean} dup */
export declare function acked(m: Machine, r: Request, seq: number, ts: number, dup: boolean): void;
/**
 * A send that is over without an ack. What was refused, and what nobody can tell, stays for the person to decide.
 * @param {Machine} m @param {Item} item @param {Failure} error
 */
export declare function failed(m: Machine, item: Item, { code, message }: Failure): void;
/**
 * An entry of the user's own, seen live, in a catch-up or in history, is as good as its ok.
 * @param {Machine} m @param {string} name @param {Frame} f
 */
export declare function ownEntry(m: Machine, name: string, f: Frame): void;
/** @param {Machine} m @param {string} name @param {Frame[]} entries of a page */
export declare function ownEntries(m: Machine, name: string, entries: Frame[]): void;
/**
 * Entries after `seq` may be void or gone, with them the proof of sends that are not in flight on the connection in use.
 * @param {Machine} m @param {string} name @param {RoomState} room @param {number} seq
 * @param {string} [epoch] the new one, after a reset
 */
export declare function lost(m: Machine, name: string, room: RoomState, seq: number, epoch?: string): void;
/**
 * At the end of the search, what was not found was not written up to the head of then; that is what the next try may
 * claim. But where entries after a first try are no longer kept, nobody knows: the person decides.
 * @param {Machine} m @param {RoomState} room @param {Request} page @param {Frame} f
 */
export declare function onSearch(m: Machine, room: RoomState, page: Request, f: Frame): void;
/** Gives up the sends whose fate cannot be found out. @param {Machine} m @param {string} name @param {RoomState} room @param {Failure} error */
export declare function searchFailed(m: Machine, name: string, room: RoomState, error: Failure): void;
/** Says how outboxes stand, where that changed. @param {Machine} m */
export declare function report(m: Machine): void;
