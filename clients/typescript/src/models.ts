// The shapes of requests and answers.
// Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.

export interface ActivatedAnswer {
  request_id: string;
  id: string;
  /** the release that was served before */
  previous: string | null;
}

export interface BatchAnswer {
  request_id: string;
  results: Array<BatchResult>;
  release: ReleaseFacts;
}

export interface BatchError {
  code: string;
  detail: string;
  field: string | null;
}

/** Up to 1,000 viewers, each checked by itself, and what is asked of all of them. */
export interface BatchRequest {
  users: Array<unknown>;
  limit?: number;
  /** where the lists are shown */
  surface?: string | null;
  /** only videos with one of these labels */
  labels?: Array<string>;
  not_labels?: Array<string>;
  exclude?: Array<string>;
  country?: string | null;
  /** highest minimum age to show */
  max_rating?: number | null;
  include?: Array<"reasons" | "scores">;
}

export interface BatchResult {
  user_id: string | null;
  /** of this list: what events about its videos name */
  request_id: string;
  items: Array<Item>;
  fallback: "cold_start" | "popular" | null;
  degraded: boolean;
  warnings: Array<string>;
  propensity: Array<number>;
  /** why there is no list for this row */
  error: BatchError | null;
}

export interface Context {
  device?: string | null;
  country?: string | null;
  /** highest minimum age to show */
  max_rating?: number | null;
  /** the time to answer for; default is this moment */
  now?: string | number | null;
}

export interface ErasedCounts {
  events: number;
  exposures: number;
  /** false: the cache did not answer */
  cache: boolean;
}

export interface ErasedReleases {
  served: string | null;
  next: string;
}

export interface ErasureReceipt {
  request_id: string;
  receipt_id: string;
  user_id: string;
  erased_at: string;
  erased: ErasedCounts;
  releases: ErasedReleases;
  /** what goes later, and when */
  remains: Array<string>;
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

export interface ExportAnswer {
  request_id: string;
  user_id: string;
  exported_at: string;
  events: Array<ExportedEvent>;
  exposures: Array<ExportedExposure>;
}

export interface ExportedEvent {
  event_id: string;
  video_id: string;
  type: EventType;
  value: number | null;
  duration_s: number | null;
  occurred_at: string;
  received_at: string;
  session_id: string | null;
  request_id: string | null;
  surface: string | null;
  position: number | null;
  country: string | null;
}

/** A list that was shown, where it was kept. */
export interface ExportedExposure {
  request_id: string;
  shown_at: string;
  surface: string | null;
  country: string | null;
  release: string;
  settings: string;
  cache: string;
  first_rank: number;
  items: Array<ExportedItem>;
}

export interface ExportedItem {
  video_id: string | null;
  rank: number;
  score: number;
  propensity: number;
  sources: Array<string>;
  rule: string | null;
  features: Record<string, number> | null;
}

export interface HiddenAnswer {
  request_id: string;
  video_id: string;
  hidden: boolean;
}

export interface HistoryAnswer {
  request_id: string;
  user_id: string;
  items: Array<HistoryItem>;
  cursor: string | null;
  has_more: boolean;
}

export interface HistoryItem {
  event_id: string;
  video_id: string;
  /** none: the video was removed from the catalogue */
  title: string | null;
  type: EventType;
  value: number | null;
  occurred_at: string;
  session_id: string | null;
  request_id: string | null;
  surface: string | null;
  position: number | null;
}

export interface HomeAnswer {
  request_id: string;
  user_id: string;
  rows: Array<HomeRowOut>;
  /** a part of the service was missing; `warnings` says which */
  degraded: boolean;
  warnings: Array<string>;
  release: ReleaseFacts;
}

export interface HomeRowOut {
  /** unique on this page */
  id: string;
  title: string;
  code: string;
  /** the watched video behind the row */
  video_id: string | null;
  /** that all its videos have */
  label: string | null;
  /** of this row: what events about its videos name */
  request_id: string;
  items: Array<Item>;
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

export interface JobAnswer {
  job_id: string;
  kind: "refresh";
  state: "queued" | "running" | "succeeded" | "failed";
  /** what it is doing */
  phase: string | null;
  /** phases that are done */
  done: number;
  /** phases in all; 0 until they are known */
  total: number;
  created_at: string;
  started_at: string | null;
  /** null while it runs, and where it was killed */
  ended_at: string | null;
  /** seconds that are left, by what each phase took last time */
  eta_s: number | null;
  /** the release that it has published */
  result: string | null;
  /** of a dry run: what would be done */
  plan: Record<string, unknown> | null;
  /** why it failed: the gate and its numbers, or `killed` */
  reason: string | null;
  request_id: string;
}

export interface JobOut {
  job_id: string;
  kind: "refresh";
  state: "queued" | "running" | "succeeded" | "failed";
  /** what it is doing */
  phase: string | null;
  /** phases that are done */
  done: number;
  /** phases in all; 0 until they are known */
  total: number;
  created_at: string;
  started_at: string | null;
  /** null while it runs, and where it was killed */
  ended_at: string | null;
  /** seconds that are left, by what each phase took last time */
  eta_s: number | null;
  /** the release that it has published */
  result: string | null;
  /** of a dry run: what would be done */
  plan: Record<string, unknown> | null;
  /** why it failed: the gate and its numbers, or `killed` */
  reason: string | null;
}

export interface JobsAnswer {
  request_id: string;
  items: Array<JobOut>;
}

export interface MediaAnswer {
  request_id: string;
  video_id: string;
  state: string;
  /** sha256 of the file */
  content_hash: string;
  /** false: these bytes were there already */
  changed: boolean;
}

export interface MergeAnswer {
  request_id: string;
  user_id: string;
  from: string;
  merged: MergedCounts;
}

export interface MergeRequest {
  /** whose events become the user's */
  from: string;
}

export interface MergedCounts {
  events: number;
  exposures: number;
}

export interface NextAnswer {
  request_id: string;
  video_id: string;
  user_id: string | null;
  items: Array<Item>;
  warnings: Array<string>;
  release: ReleaseFacts;
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

export interface RefreshRequest {
  /** publish although these fail */
  accept?: Array<"embeddings" | "recall" | "size" | "ndcg" | "coverage">;
  /** only tell what would be done, and whether it fits */
  dry_run?: boolean;
}

export interface ReleaseFacts {
  id: string;
  encoder: string;
  index: string;
  collaborative: string;
  age_s: number;
}

/** The manifest of a release: what it was built from, its parts, sizes and checksums. */
export interface ReleaseOut {
  id: string;
  /** seconds since 1970 */
  created_at: number;
  /** it is the one that is served */
  current: boolean;
  /** why it cannot be read */
  damaged?: string | null;
}

export interface ReleasesAnswer {
  request_id: string;
  items: Array<ReleaseOut>;
}

export interface RemovedAnswer {
  request_id: string;
  video_id: string;
  /** false: there was no such video */
  removed: boolean;
}

export interface RetractionAnswer {
  request_id: string;
  event_id: string;
  status: "retracted";
}

export interface SearchAnswer {
  request_id: string;
  items: Array<Item>;
  /** what was looked into */
  searched: Array<"text" | "pixels">;
  warnings: Array<string>;
  release: ReleaseFacts;
}

/** What is looked for: a text, or a file that is sent along. */
export interface SearchRequest {
  /** what is looked for in words */
  text?: string | null;
  /** where a text is looked for: in what is written of videos, in what is seen of them, or in both */
  mode?: "auto" | "text" | "pixels";
  limit?: number;
  /** only videos with one of these labels */
  labels?: Array<string>;
  not_labels?: Array<string>;
  exclude?: Array<string>;
  country?: string | null;
  /** highest minimum age to show */
  max_rating?: number | null;
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

/** Up to 1,000 videos, each as its owner describes it; each is checked by itself. */
export interface VideoBatch {
  videos: Array<Record<string, unknown>>;
}

export interface VideoBatchAnswer {
  request_id: string;
  created: number;
  updated: number;
  unchanged: number;
  rejected: number;
  results: Array<VideoResult>;
}

/** Any fields of a video's description; what is left out stays, null clears. */
export interface VideoChange {
  title?: string | null;
  description?: string | null;
  tags?: Array<string> | null;
  labels?: Array<string> | null;
  duration_s?: number | null | null;
  published_at?: string | number | null | null;
  available_from?: string | number | null | null;
  available_until?: string | number | null | null;
  regions?: Array<string> | null;
  rating?: number | null | null;
  creator?: string | null | null;
  series?: string | null | null;
  episode?: number | null | null;
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

export interface VideoResult {
  id: string | null;
  status: "created" | "updated" | "unchanged" | "rejected";
  code?: string | null;
  detail?: string | null;
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
