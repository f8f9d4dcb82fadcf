// What is sent and when it is sent again, without sending.

export type Content = Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | FormData | ReadableStream<Uint8Array<ArrayBuffer>>;

/** One request. `repeatable`: sent twice it does the same as once; `keyed`: it does once its key is sent along. */
export interface Call {
  method: string;
  path: string;
  query?: object;
  body?: object;
  contentType?: string | undefined;
  repeatable?: boolean;
  keyed?: boolean;
}

/** Of one call, or of all calls of a client. */
export interface CallOptions {
  /** Milliseconds for each attempt. */
  timeoutMs?: number;
  /** Milliseconds that the service may work on an answer. */
  deadlineMs?: number;
  /** For the log of the service; a new one for each call unless given. */
  requestId?: string;
  /** Further attempts, of calls that do the same twice as once. */
  retries?: number;
  /** Longest pause before another attempt, in milliseconds: `Retry-After` is honoured up to it. */
  longestWaitMs?: number;
  /** Ends the call from outside. */
  signal?: AbortSignal;
}

/** The service, or what stands before it, had no time for the request. */
const TRY_AGAIN = new Set([429, 502, 503, 504]);

/** Milliseconds until the attempt after the `number`-th (from 0) may follow; undefined: it may not. */
export function waitBeforeNext(
  call: Call,
  options: Required<Pick<CallOptions, "retries" | "longestWaitMs">>,
  number: number,
  response: Response | undefined,
): number | undefined {
  // What has been read once from a stream is gone.
  const again = (call.repeatable || call.keyed) && !(call.body instanceof ReadableStream);
  if (!again || number >= options.retries) return undefined;
  if (response !== undefined && !TRY_AGAIN.has(response.status)) return undefined;
  const backoff = 200 * 2 ** number * (0.5 + Math.random() / 2);
  const wait = Math.max(backoff, 1000 * (response ? (retryAfter(response) ?? 0) : 0));
  return wait <= options.longestWaitMs ? wait : undefined;
}

/** Seconds after which to come again, where the service says so. */
export function retryAfter(response: Response): number | undefined {
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return Number.isFinite(seconds) ? seconds : undefined;
}

/** A name that nothing else has; `crypto.randomUUID` is not there on pages without TLS. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `template` with each `{name}` replaced by the next parameter, whatever characters it holds. */
export function path(template: string, ...parameters: string[]): string {
  let next = 0;
  return template.replace(/\{\w+\}/g, () => encodeURIComponent(parameters[next++] ?? ""));
}

/** `?…` of all that is given; lists repeat their name. */
export function search(query: object): string {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(query) as [string, unknown][]) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null) written.append(name, String(each));
    }
  }
  const text = written.toString();
  return text && `?${text}`;
}
