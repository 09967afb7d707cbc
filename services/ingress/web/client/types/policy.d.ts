/**
 * Full jitter: anything between nothing and the doubled wait, so that clients of a dead edge do not return in one wave.
 * @param {number} attempt 0 for the first
 * @param {() => number} random in [0, 1)
 * @param {{base: number, cap: number}} bounds the first and the longest wait, in ms
 * @returns {number} ms
 */
export declare function backoff(attempt: number, random: () => number, { base, cap }: {
    base: number;
    cap: number;
}): number;
/**
 * What a close code asks of a client: `retry` reconnect, resume, and repeat what has no reply; `avoid` reconnect, but do
 * not repeat that; `stop` connecting again would end the same way.
 * @param {number} code 0: no connection came about
 * @returns {'retry' | 'avoid' | 'stop'}
 */
export declare function closePolicy(code: number): 'retry' | 'avoid' | 'stop';
/** @param {string} code @returns {boolean} whether the same request may succeed later */
export declare function temporary(code: string): boolean;
/**
 * An error that the server sent, or one the client made in the same form. `code` is for programs, `message` for people.
 *
 * @example
 * try {
 *   await room.send({ text: "hello" });
 * } catch (err) {
 *   if (err instanceof ParleyError && err.code === "too_large") shorten();
 * }
 */
export declare class ParleyError extends Error {
    /** One of the protocol's error codes, or `closed`, `left`, `discarded`, `not_retried`, `maybe_sent`. */
    code: string;
    /** When to try again, in ms, where the server says so. @type {number | null} */
    retryAfter: number | null;
    /** @param {{code: string, message?: string, retry_after_ms?: number}} error */
    constructor({ code, message, retry_after_ms }: {
        code: string;
        message?: string;
        retry_after_ms?: number;
    });
}
/** @param {unknown} value @returns {number} the bytes that it takes on the wire */
export declare function wireSize(value: unknown): number;
/**
 * Addresses as WebSocket URLs; what is none is left out.
 * @param {string[]} urls @param {string} [base] what relative ones are relative to
 * @returns {string[]}
 */
export declare function socketUrls(urls: string[], base?: string): string[];
/** An encrypted connection never leads to a bare one. @param {string} url @param {string} from what named it */
export declare function acceptable(url: string, from: string): boolean;
