import * as O from "./outbox.js";
export type Machine = import("./machine.js").Machine;
export type Frame = import("./machine.js").Frame;
export type Link = import("./machine.js").Link;
export type Cursor = import("./machine.js").Cursor;
export type Failure = import("./machine.js").Failure;
export type Request = {
    frame: Frame;
    /**
     * the user's; 0: the machine's own
     */
    ref: number;
    /**
     * where it is in flight; 0: waiting to be sent
     */
    link: number;
    /**
     * not before
     *
     * Of sends only:
     */
    at: number;
    item?: O.Item;
    /**
     * was on the wire once
     */
    tried: boolean;
    /**
     * of the room at the first try
     */
    since: Cursor | null;
    /**
     * the last try carried since
     */
    asked: boolean;
    /**
     * history was searched for it on this connection, and has it not
     */
    missing: boolean;
    /**
     * conflict: a new cid, unless history has the old one
     */
    renew: boolean;
    /**
     * of new cids
     */
    round: number;
};
/**
 * @typedef {import("./machine.js").Machine} Machine
 * @typedef {import("./machine.js").Frame} Frame
 * @typedef {import("./machine.js").Link} Link
 * @typedef {import("./machine.js").Cursor} Cursor
 * @typedef {import("./machine.js").Failure} Failure
 *
 * @typedef {object} Request
 * @property {Frame} frame
 * @property {number} ref the user's; 0: the machine's own
 * @property {number} link where it is in flight; 0: waiting to be sent
 * @property {number} at not before
 *
 * Of sends only:
 * @property {O.Item} [item]
 * @property {boolean} tried was on the wire once
 * @property {Cursor | null} since of the room at the first try
 * @property {boolean} asked the last try carried since
 * @property {boolean} missing history was searched for it on this connection, and has it not
 * @property {boolean} renew conflict: a new cid, unless history has the old one
 * @property {number} round of new cids
 */
/** @param {Machine} m */
export declare function newId(m: Machine): number;
/**
 * Queues a request; a user's beyond the bound is refused at once.
 * @param {Machine} m @param {number} ref @param {Frame} frame @returns {Request | null}
 */
export declare function add(m: Machine, ref: number, frame: Frame): Request | null;
/** history, presence, auth, typing, signal. @param {Machine} m @param {number} ref @param {Frame} data */
export declare function ask(m: Machine, ref: number, data: Frame): undefined;
/** @param {Machine} m @param {number} ref */
export declare function refuseStopped(m: Machine, ref: number): boolean;
/** The user no longer waits. What is on the wire already may still happen. @param {Machine} m @param {number} ref */
export declare function cancel(m: Machine, ref: number): void;
/** @param {Machine} m @param {Request} r */
export declare function remove(m: Machine, r: Request): void;
/** @param {Machine} m @param {number | undefined} id */
export declare function byId(m: Machine, id: number | undefined): Request | undefined;
/** Tells the user that it is through; the machine's own requests have no user. @param {Machine} m @param {Request} r @param {object} what */
export declare function reply(m: Machine, r: Request, what: object): void;
/** @param {Machine} m @param {Request} r @param {{ack?: object, frame?: Frame, error?: Failure}} what */
export declare function settle(m: Machine, r: Request, what: {
    ack?: object;
    frame?: Frame;
    error?: Failure;
}): void;
/** Brings the requests over to a connection that was just welcomed. @param {Machine} m @param {Link} l */
export declare function carryOver(m: Machine, l: Link): void;
/** A connection ended over any of these; whether they happened is unknown. @param {Machine} m @param {Link} l @param {number} code */
export declare function failInFlight(m: Machine, l: Link, code: number): void;
/** Sends whatever may be sent now, in order. @param {Machine} m */
export declare function flush(m: Machine): void;
/** ok, page and presence replies. @param {Machine} m @param {Frame} f */
export declare function onReply(m: Machine, f: Frame): void;
/** @param {Machine} m @param {Link} l @param {Frame} f */
export declare function onError(m: Machine, l: Link, f: Frame): void;
/**
 * What the server asked for and up to half as much again, so that those it refused together do not come back together.
 * @param {Machine} m @param {Failure} error
 */
export declare function retryIn(m: Machine, { retry_after_ms }: Failure): number;
