// A thin, typed client of the WatchNext API: see `WatchNext`.

export type { CallOptions, Content } from "./calls.js";
export type { ClientOptions } from "./client.js";
export { WatchNext } from "./client.js";
export { ProblemError, UnreachableError, WatchNextError } from "./errors.js";
export type { EventSenderOptions } from "./events.js";
export { EventSender } from "./events.js";
export type * from "./models.js";
