// The JavaScript client under one stable address; its modules are in /client/.
export * from "./client/index.js";
