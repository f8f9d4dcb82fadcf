// What goes wrong, as exceptions.

import type { ProblemOut } from "./models.js";

/** Whatever this client throws. */
export class WatchNextError extends Error {
  constructor(
    message: string,
    /** What was sent along, and what the log of the service has. */
    readonly requestId: string,
    options?: ErrorOptions,
  ) {
    super(`${message} (request ${requestId})`, options);
    this.name = new.target.name;
  }
}

/** No answer came: the service is away or too slow. */
export class UnreachableError extends WatchNextError {}

/** The service answered with a problem (RFC 9457). */
export class ProblemError extends WatchNextError {
  /** Stable, for programs. */
  readonly code: string;
  /** What was wrong and what would be right. */
  readonly detail: string;
  /** What is to blame, where something is. */
  readonly field: string | undefined;

  constructor(
    readonly status: number,
    readonly problem: Partial<ProblemOut>,
    requestId: string,
    /** Seconds after which to come again, where the service says so. */
    readonly retryAfterS: number | undefined,
  ) {
    const code = problem.code ?? `http_${status}`;
    const detail = problem.detail ?? "the answer was no problem document";
    super(`${status} ${code}: ${detail}`, requestId);
    this.code = code;
    this.detail = detail;
    this.field = problem.field ?? undefined;
  }
}
