import { Emitter } from "./emitter.js";
export type Parley = import("./index.js").Parley;
export type Cursor = import("./index.js").Cursor;
export type Presence = import("./members.js").Presence;
export type Item = import("./outbox.js").Item;
export type Entry = {
    /**
     * `message`, or one of a later version
     */
    type: string;
    room: string;
    /**
     * its place in the log: 1, 2, 3 …
     */
    seq: number;
    mid: string;
    from: string;
    cid: string;
    /**
     * Unix ms
     */
    ts: number;
    body: any;
};
export type Page = {
    entries: Entry[];
    more: boolean;
    floor: number;
    head: number;
    epoch: string;
};
export type Ack = {
    seq: number;
    ts: number;
    cid: string;
    dup: boolean;
};
export type RoomEvents = {
    message: Entry;
    /**
     * one of a type of a later version
     */
    entry: Entry;
    /**
     * these entries are no longer kept
     */
    gap: {
        room: string;
        from: number;
        to: number;
    };
    /**
     * the log goes by a new epoch: load what you show again
     */
    reset: {
        room: string;
        epoch: string;
        seq: number;
    };
    /**
     * after each reconnect, too
     */
    joined: {
        room: string;
        epoch: string;
        head: number;
        floor: number;
        after: number;
    };
    /**
     * the server ended it
     */
    left: {
        room: string;
        code: string;
        message?: string;
    };
    /**
     * what is not yet known to be in the log, in order
     */
    outbox: Item[];
    typing: {
        room: string;
        from: string;
    };
    signal: {
        room: string;
        from: string;
        body: any;
    };
    members: Presence;
    /**
     * a volatile frame of a later version
     */
    other: Record<string, any>;
};
/**
 * @typedef {import("./index.js").Parley} Parley
 * @typedef {import("./index.js").Cursor} Cursor
 * @typedef {import("./members.js").Presence} Presence
 * @typedef {import("./outbox.js").Item} Item
 *
 * @typedef {object} Entry an entry of the room's log
 * @property {string} type `message`, or one of a later version
 * @property {string} room
 * @property {number} seq its place in the log: 1, 2, 3 …
 * @property {string} mid
 * @property {string} from
 * @property {string} cid
 * @property {number} ts Unix ms
 * @property {any} body
 *
 * @typedef {{entries: Entry[], more: boolean, floor: number, head: number, epoch: string}} Page
 * @typedef {{seq: number, ts: number, cid: string, dup: boolean}} Ack where the message stands; dup: an earlier try had written it
 *
 * @typedef {object} RoomEvents
 * @property {Entry} message
 * @property {Entry} entry one of a type of a later version
 * @property {{room: string, from: number, to: number}} gap these entries are no longer kept
 * @property {{room: string, epoch: string, seq: number}} reset the log goes by a new epoch: load what you show again
 * @property {{room: string, epoch: string, head: number, floor: number, after: number}} joined after each reconnect, too
 * @property {{room: string, code: string, message?: string}} left the server ended it
 * @property {Item[]} outbox what is not yet known to be in the log, in order
 * @property {{room: string, from: string}} typing
 * @property {{room: string, from: string, body: any}} signal
 * @property {Presence} members
 * @property {Record<string, any>} other a volatile frame of a later version
 */
/**
 * A room. Entries come in the log's order, each once, through all reconnects; what is missing between them is told by
 * `gap` or `reset`. Events: see RoomEvents.
 * @extends {Emitter<RoomEvents>}
 */
export declare class Room extends Emitter<RoomEvents> {
    #private;
    name: string;
    /** Whether the user is in it. */
    joined: boolean;
    /**
     * @template {keyof RoomEvents} E
     * @param {E} event @param {(data: RoomEvents[E]) => void} listener
     * @returns {() => void} takes the listener off again
     *
     * @example
     * const off = room.on("message", ({ seq, from, body }) => console.log(seq, from, body));
     * off();
     */
    on<E extends keyof RoomEvents>(event: E, listener: (data: RoomEvents[E]) => void): () => void;
    /**
     * Puts a message into the room's outbox. It is sent in order and exactly once, now or when there is a connection.
     * @param {any} body any JSON, at most `limits.body_bytes`
     * @param {{signal?: AbortSignal}} [options] signal: take it back; if it was under way it may still be written
     * @returns {Promise<Ack>} resolves when the log has it; rejects when it was refused (`code` as in the protocol), with
     *   `maybe_sent` or `not_retried` when nobody can tell whether it was written, or with `closed` when the client was closed
     *   before an answer (a stored outbox goes on the next time). It does not reject because the line is down.
     *
     * @example
     * const { seq } = await room.send({ text: "hello" });
     */
    send(body: any, { signal }?: {
        signal?: AbortSignal;
    }): Promise<Ack>;
    /** Sends a `failed` or `maybe` item of the outbox again, as the newest. @param {string} key */
    retry(key: string): void;
    /** Takes an item that has not been sent out of the outbox. @param {string} key */
    discard(key: string): void;
    /**
     * A page of the log, ascending; at most 256 KiB, so it may be shorter than asked: `more` says whether there is more.
     * @param {{before?: number, after?: number, limit?: number, signal?: AbortSignal}} [range] exclusive; neither: the newest;
     *   limit ≤ 200, 50 unless said otherwise
     * @returns {Promise<Page>}
     *
     * @example
     * const { entries, more } = await room.history({ before: 100, limit: 50 });
     */
    history({ signal, ...range }?: {
        before?: number;
        after?: number;
        limit?: number;
        signal?: AbortSignal;
    }): Promise<Page>;
    /**
     * Who is here, and with how many sessions.
     * @returns {Promise<Presence>}
     *
     * @example
     * const { users, count } = await room.presence();
     */
    presence(): Promise<Presence>;
    /** Says that the user is typing; call it on every key. */
    typing(): void;
    /**
     * Something volatile for whoever is here: not stored, not ordered, after a reconnect possibly twice. It waits for the
     * connection.
     * @param {any} body any JSON, at most 4 KiB
     * @param {{signal?: AbortSignal}} [options]
     * @returns {Promise<void>}
     *
     * @example
     * await room.signal({ cursor: [12, 40] });
     */
    signal(body: any, { signal }?: {
        signal?: AbortSignal;
    }): Promise<void>;
    /** Leaves; what waits in the room's outbox is given up. @returns {Promise<void>} */
    leave(): Promise<void>;
}
/** 96 random bits; `randomUUID` is missing on pages without TLS. @returns {string} */
export declare function newId(): string;
