// Events are gathered and sent in batches; each gets its id and time here, so that sending twice counts once.

import { newId } from "./calls.js";
import type { Event, EventAnswer, EventResult } from "./models.js";

/** The service takes no larger batch. */
const LARGEST_BATCH = 1000;

export interface EventSenderOptions {
  /** A batch goes when so many events are there. */
  size?: number;
  /** … or so many milliseconds after its first one. */
  everyMs?: number;
  /** Is told of each event that the service did not take. */
  onRejected?: (event: Event, result: EventResult) => void;
  /** Is told of a batch that could not be sent; it stays and goes with the next. */
  onError?: (error: unknown) => void;
}

/** Gathers events and sends them in batches. What could not be sent stays and goes with the next batch. */
export class EventSender {
  private waiting: Event[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private sending: Promise<void> = Promise.resolve();
  private failed = false;

  constructor(
    private readonly post: (events: Event[]) => Promise<EventAnswer>,
    private readonly options: EventSenderOptions = {},
  ) {
    const size = options.size ?? 500;
    if (!(size >= 1 && size <= LARGEST_BATCH)) throw new RangeError(`size is 1 to ${LARGEST_BATCH}`);
  }

  /** How many wait. */
  get length(): number {
    return this.waiting.length;
  }

  /** Adds an event with an id and the present time unless it has them; returns its id. */
  add(event: Omit<Event, "event_id" | "occurred_at"> & Partial<Event>): string {
    const filled: Event = { event_id: newId(), occurred_at: Date.now() / 1000, ...event };
    this.waiting.push(filled);
    // A service that is away is not asked anew with every event.
    const now = this.waiting.length >= this.size && !this.failed;
    if (now) this.flushLater();
    else this.timer ??= setTimeout(() => this.flushLater(), this.options.everyMs ?? 5000);
    return filled.event_id;
  }

  /** Sends all that waits. Rejects when that fails; what was not sent stays. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.sending = this.sending.catch(() => {}).then(() => this.sendAll());
    return this.sending;
  }

  private flushLater(): void {
    this.flush().catch(this.options.onError ?? (() => {}));
  }

  private get size(): number {
    return this.options.size ?? 500;
  }

  private async sendAll(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.slice(0, this.size);
      this.failed = true;
      const answer = await this.post(batch);
      this.failed = false;
      this.waiting.splice(0, batch.length);
      answer.results.forEach((result, place) => {
        const event = batch[place];
        if (result.status === "rejected" && event !== undefined) this.options.onRejected?.(event, result);
      });
    }
  }
}
