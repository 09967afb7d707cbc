/** Calls listeners; one that throws is reported and stops nobody. @template {Record<string, any>} Events */
export declare class Emitter<Events extends Record<string, any>> {
    #private;
    /**
     * @template {keyof Events} E
     * @param {E} event
     * @param {(data: Events[E]) => void} listener
     * @returns {() => void} takes the listener off again
     */
    on<E extends keyof Events>(event: E, listener: (data: Events[E]) => void): () => void;
}
