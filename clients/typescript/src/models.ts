// The shapes of requests and answers.
// Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.

export interface Context {
  device?: string | null;
  country?: string | null;
  /** highest minimum age to show */
  max_rating?: number | null;
  /** the time to answer for; default is this moment */
  now?: string | number | null;
}

/** One thing that a viewer did. `value` is the fraction watched (watch) or the rating scaled to 0..1 (rate). */
export interface Event {
  event_id: string;
  user_id: string;
  video_id: string;
  type: EventType;
  value?: number | null;
  duration_s?: number | null;
  /** RFC 3339, or seconds since 1970 */
  occurred_at: string | number;
  session_id?: string | null;
  request_id?: string | null;
  surface?: string | null;
  position?: number | null;
  country?: string | null;
}

export interface EventAnswer {
  request_id: string;
  accepted: number;
  duplicates: number;
  rejected: number;
  results: Array<EventResult>;
}

/** Up to 1,000 events; each is checked by itself. */
export interface EventBatch {
  events: Array<Event>;
}

export interface EventResult {
  event_id: string | null;
  status: "accepted" | "duplicate" | "rejected";
  code?: string | null;
  detail?: string | null;
}

export type EventType = "impression" | "play" | "watch" | "complete" | "rate" | "like" | "save" | "share" | "dislike" | "not_interested" | "report";

export interface HiddenAnswer {
  request_id: string;
  video_id: string;
  hidden: boolean;
}

export interface Item {
  video_id: string;
  /** place in the whole slate, over all pages */
  rank: number;
  score?: number | null;
  sources: Array<string>;
  reason?: ReasonOut | null;
  title: string;
  labels: Array<string>;
}

/** RFC 9457. */
export interface ProblemOut {
  /** `urn:watchnext:problem:` and the code */
  type: string;
  title: string;
  status: number;
  /** stable, for programs */
  code: string;
  /** what was wrong and what would be right */
  detail: string;
  request_id: string | null;
  /** the parameter, or the path into the body, that is to blame */
  field?: string | null;
}

export interface ReasonOut {
  code: string;
  text: string;
  /** the watched video behind it */
  video_id?: string | null;
}

export interface RecommendationAnswer {
  request_id: string;
  user_id: string;
  items: Array<Item>;
  /** for the next page */
  cursor: string | null;
  has_more: boolean;
  /** a part of the service was missing; `warnings` says which */
  degraded: boolean;
  fallback: "cold_start" | "popular" | null;
  warnings: Array<string>;
  release: ReleaseFacts;
  /** of each item: the probability, over what is left to chance, that it stands at its place */
  propensity: Array<number>;
  /** whether the candidates came from the cache; stale: old ones, while new ones are made */
  cache: "hit" | "stale" | "miss" | "off";
  timings_ms: Record<string, number>;
}

/** What a POST may say in its body. */
export interface RecommendationRequest {
  limit?: number;
  /** of the page before; all else must be the same */
  cursor?: string | null;
  /** where the list is shown */
  surface?: string | null;
  /** only videos with one of these labels */
  labels?: Array<string>;
  /** no videos with one of these labels */
  not_labels?: Array<string>;
  /** video ids that must not be there */
  exclude?: Array<string>;
  /** of the viewer, ISO 3166 */
  country?: string | null;
  /** say why each video is there */
  reasons?: boolean;
  context?: Context;
  /** oldest first, not stored */
  history?: Array<SessionEvent>;
  /** weight of each source's ranks */
  weights?: Record<string, number>;
  /** of what is left to chance; the same seed explores the same way */
  seed?: number | null;
  include?: Array<"reasons" | "scores" | "trace">;
}

export interface ReleaseFacts {
  id: string;
  encoder: string;
  index: string;
  collaborative: string;
  age_s: number;
}

/** An event of this session that is used for this answer and not stored. */
export interface SessionEvent {
  video_id: string;
  type?: "play" | "watch" | "complete" | "rate" | "like" | "save" | "share" | "dislike" | "not_interested" | "report";
  value?: number | null;
}

export interface SimilarAnswer {
  request_id: string;
  video_id: string;
  items: Array<Item>;
  warnings: Array<string>;
  release: ReleaseFacts;
}

export type SourceName = "collaborative" | "item_item" | "recent" | "session" | "walks" | "neighbours" | "sequential" | "transformer" | "graph" | "content" | "fresh" | "next_episode" | "continue_watching" | "popular" | "trending";

export interface VideoAnswer {
  id: string;
  title: string;
  description: string;
  tags: Array<string>;
  labels: Array<string>;
  predicted_labels: Record<string, number>;
  duration_s: number | null;
  published_at: string | null;
  available_from: string | null;
  available_until: string | null;
  regions: Array<string>;
  rating: number | null;
  creator: string | null;
  series: string | null;
  episode: number | null;
  hidden: boolean;
  state: string;
  reason: string | null;
  encoder_id: string | null;
  frames_decoded: number | null;
  distinct_share: number | null;
  quality: "good" | "damaged" | "few_frames" | "still" | "blank" | null;
  request_id: string;
}

export interface VideoOut {
  id: string;
  title: string;
  description: string;
  tags: Array<string>;
  labels: Array<string>;
  predicted_labels: Record<string, number>;
  duration_s: number | null;
  published_at: string | null;
  available_from: string | null;
  available_until: string | null;
  regions: Array<string>;
  rating: number | null;
  creator: string | null;
  series: string | null;
  episode: number | null;
  hidden: boolean;
  state: string;
  reason: string | null;
  encoder_id: string | null;
  frames_decoded: number | null;
  distinct_share: number | null;
  quality: "good" | "damaged" | "few_frames" | "still" | "blank" | null;
}

export interface VideosAnswer {
  request_id: string;
  items: Array<VideoOut>;
  cursor: string | null;
  has_more: boolean;
}

export interface WhyAnswer {
  request_id: string;
  user_id: string;
  video_id: string;
  /** by source: found or not, rank, score, weight, because of what */
  sources: Record<string, Record<string, unknown>>;
  /** filters that keep it out */
  removed_by: Array<string>;
  /** place among the scored candidates; none: nobody found it */
  candidate_rank: number | null;
  score: number | null;
  /** place in the list; none: not in it */
  rank: number | null;
  /** pinned, boosted, new or explored: what put it there beside its score */
  rule: string | null;
  /** the stage of the policy that kept it out */
  kept_out_by: string | null;
  warnings: Array<string>;
  release: ReleaseFacts;
}
