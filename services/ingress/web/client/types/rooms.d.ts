export type Machine = import("./machine.js").Machine;
export type Frame = import("./machine.js").Frame;
export type Link = import("./machine.js").Link;
export type Cursor = import("./machine.js").Cursor;
export type Failure = import("./machine.js").Failure;
export type RoomState = {
    /**
     * null until the first joined
     */
    cursor: Cursor | null;
    /**
     * head at the last joined: caught up when the cursor is there
     */
    target: number;
    /**
     * the connection of the last joined; entries count from there only
     */
    on: number;
    /**
     * of the last presence event or reply; 0: none seen
     */
    n: number;
    /**
     * entries were missing: wait for joined
     */
    stale: boolean;
    /**
     * the room was joined again for them
     */
    holed: boolean;
    /**
     * tried sends must be looked for in history before they are sent again
     */
    search: boolean;
    /**
     * id of the history request that does so
     */
    looking: number;
    /**
     * the floor that the search met, where entries below it were wanted
     */
    hidden: number;
};
/**
 * @typedef {import("./machine.js").Machine} Machine
 * @typedef {import("./machine.js").Frame} Frame
 * @typedef {import("./machine.js").Link} Link
 * @typedef {import("./machine.js").Cursor} Cursor
 * @typedef {import("./machine.js").Failure} Failure
 *
 * @typedef {object} RoomState a room the user wants to be in
 * @property {Cursor | null} cursor null until the first joined
 * @property {number} target head at the last joined: caught up when the cursor is there
 * @property {number} on the connection of the last joined; entries count from there only
 * @property {number} n of the last presence event or reply; 0: none seen
 * @property {boolean} stale entries were missing: wait for joined
 * @property {boolean} holed the room was joined again for them
 * @property {boolean} search tried sends must be looked for in history before they are sent again
 * @property {number} looking id of the history request that does so
 * @property {number} hidden the floor that the search met, where entries below it were wanted
 */
/** @param {RoomState} room */
export declare function caughtUp(room: RoomState): boolean;
/** Whether the room is joined on the connection in use. @param {Machine} m @param {string} name */
export declare function live(m: Machine, name: string): boolean;
/** @param {Machine} m @param {number} ref @param {string} name */
export declare function refuseNotJoined(m: Machine, ref: number, name: string): boolean;
/**
 * Enters a room, or enters it anew elsewhere in its log.
 * @param {Machine} m @param {number} ref @param {string} name @param {Cursor} [since] @param {number} [last]
 */
export declare function join(m: Machine, ref: number, name: string, since?: Cursor, last?: number): void;
/** @param {Machine} m @param {number} ref @param {string} name */
export declare function leave(m: Machine, ref: number, name: string): undefined;
/** Ends a room on this side; what waits there fails. @param {Machine} m @param {string} name @param {Failure} error */
export declare function forget(m: Machine, name: string, error: Failure): void;
/** Asks for a room again from its cursor on. @param {Machine} m @param {string} name @param {RoomState} room @param {number} [wait] ms */
export declare function rejoin(m: Machine, name: string, room: RoomState, wait?: number): void;
/** An error about a room: one of hello's, or the user is no longer in it. @param {Machine} m @param {string} name @param {Failure} error */
export declare function onError(m: Machine, name: string, error: Failure): void;
/** @param {Machine} m @param {Link} l @param {Frame} f */
export declare function onJoined(m: Machine, l: Link, f: Frame): void;
/**
 * What belongs to a room: entries of known and unknown types, gap, reset and the volatile ones.
 * @param {Machine} m @param {Link} l @param {Frame} f
 */
export declare function onRoomFrame(m: Machine, l: Link, f: Frame): void;
/** @param {Machine} m @param {string} name @param {Frame} frame */
export declare function deliver(m: Machine, name: string, frame: Frame): void;
/** Delivers a presence event, and asks for the whole when some were missed. @param {Machine} m @param {Link} l @param {Frame} f */
export declare function onPresence(m: Machine, l: Link, f: Frame): void;
