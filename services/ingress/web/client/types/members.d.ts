export type Member = {
    user: string;
    sessions: number;
    since?: number;
};
export type Presence = {
    users: Member[];
    count: number;
};
/**
 * @typedef {{user: string, sessions: number, since?: number}} Member
 * @typedef {{users: Member[], count: number}} Presence users: empty where the room is too large to list them
 */
export declare class Members {
    #private;
    /**
     * Takes the answer to a presence request, or an event.
     * @param {Record<string, any>} frame @returns {boolean} whether anything changed
     */
    take({ users, on, off, count, n }: Record<string, any>): boolean;
    /** @returns {Presence} */
    snapshot(): Presence;
}
