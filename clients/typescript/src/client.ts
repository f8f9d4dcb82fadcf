// The client: how calls are sent and tried again, pages followed and events batched.

import type { Call, CallOptions } from "./calls.js";
import { newId, retryAfter, search, waitBeforeNext } from "./calls.js";
import { ProblemError, UnreachableError } from "./errors.js";
import type { EventSenderOptions } from "./events.js";
import { EventSender } from "./events.js";
import type { ProblemOut } from "./models.js";
import { Operations } from "./operations.js";

export interface ClientOptions extends Omit<CallOptions, "requestId" | "signal"> {
  /** Where the service answers; in a browser the page's own origin unless given. */
  url?: string;
  /** A bearer key; none where the service runs on this machine without keys. */
  key?: string;
  /** Another `fetch`. */
  fetch?: typeof fetch;
}

/** What has pages: an answer with items and the cursor of the next. */
interface Paged<Item> {
  items: Item[];
  cursor: string | null;
}

/** A client of one service. */
export class WatchNext extends Operations {
  constructor(private readonly client: ClientOptions = {}) {
    super();
  }

  /** Every page of a list: `client.pages((cursor) => client.listVideos({ label: "space", ...cursor }))`. */
  async *pages<Page extends { cursor: string | null }>(
    ask: (cursor: { cursor?: string }) => Promise<Page>,
  ): AsyncGenerator<Page, void> {
    let cursor: { cursor?: string } = {};
    for (;;) {
      const page = await ask(cursor);
      yield page;
      if (page.cursor === null) return;
      cursor = { cursor: page.cursor };
    }
  }

  /** Every item of every page. */
  async *items<Item>(ask: (cursor: { cursor?: string }) => Promise<Paged<Item>>): AsyncGenerator<Item, void> {
    for await (const page of this.pages(ask)) yield* page.items;
  }

  /** Sends events in batches; flush it before the page goes. */
  events(options: EventSenderOptions = {}): EventSender {
    return new EventSender((events) => this.postEvents({ events }), options);
  }

  protected async send<Answer>(call: Call, given: CallOptions = {}): Promise<Answer> {
    const options = { timeoutMs: 10_000, retries: 2, longestWaitMs: 20_000, ...this.client, ...given };
    const requestId = options.requestId ?? newId();
    const headers = this.headers(call, requestId, options.deadlineMs);
    const body = isContent(call.body) ? call.body : call.body && JSON.stringify(call.body);
    const address = (this.client.url ?? "").replace(/\/$/, "") + call.path + search(call.query ?? {});
    for (let number = 0; ; number++) {
      let response: Response | undefined;
      let failure: unknown;
      try {
        const timeout = AbortSignal.timeout(options.timeoutMs);
        const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
        const sent = { method: call.method, headers, signal, ...(body === undefined ? {} : { body }) };
        // A stream goes one way while the answer comes the other.
        const streamed = body instanceof ReadableStream ? { ...sent, duplex: "half" } : sent;
        response = await (this.client.fetch ?? fetch)(address, streamed as RequestInit);
        if (response.ok) return (response.status === 204 ? undefined : await response.json()) as Answer;
      } catch (error) {
        options.signal?.throwIfAborted();
        response = undefined;
        failure = error;
      }
      const wait = waitBeforeNext(call, options, number, response);
      if (wait === undefined) {
        if (response === undefined) throw new UnreachableError(String(failure), requestId, { cause: failure });
        throw await problem(response, requestId);
      }
      await response?.body?.cancel();
      await pause(wait, options.signal);
    }
  }

  private headers(call: Call, requestId: string, deadlineMs: number | undefined): Headers {
    const headers = new Headers({ Accept: "application/json", "X-Request-ID": requestId });
    if (this.client.key) headers.set("Authorization", `Bearer ${this.client.key}`);
    if (deadlineMs !== undefined) headers.set("X-Deadline-Ms", String(Math.max(1, Math.round(deadlineMs))));
    if (call.keyed) headers.set("Idempotency-Key", newId());
    // The browser writes the type of a form itself, with its boundary.
    if (isContent(call.body) ? !(call.body instanceof FormData) : call.body !== undefined) {
      const kind = isContent(call.body) ? (call.contentType ?? "application/octet-stream") : "application/json";
      headers.set("Content-Type", kind);
    }
    return headers;
  }
}

async function problem(response: Response, requestId: string): Promise<ProblemError> {
  let told: Partial<ProblemOut> = {};
  try {
    told = (await response.json()) as Partial<ProblemOut>;
  } catch {
    // Something before the service answered in its own words.
  }
  const id = response.headers.get("X-Request-ID") ?? requestId;
  return new ProblemError(response.status, told, id, retryAfter(response));
}

function isContent(body: object | undefined): body is Exclude<BodyInit, string | URLSearchParams> {
  return [Blob, ArrayBuffer, Uint8Array, FormData, ReadableStream].some((kind) => body instanceof kind);
}

function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}
