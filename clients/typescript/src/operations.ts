// A method for each operation of the API.
// Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.

import type { Call, CallOptions, Content } from "./calls.js";
import { path } from "./calls.js";
import type {
  ActivatedAnswer,
  BatchAnswer,
  BatchRequest,
  ErasureReceipt,
  EventAnswer,
  EventBatch,
  EventType,
  ExportAnswer,
  HiddenAnswer,
  HistoryAnswer,
  HomeAnswer,
  JobAnswer,
  JobsAnswer,
  MediaAnswer,
  MergeAnswer,
  MergeRequest,
  NextAnswer,
  RecommendationAnswer,
  RecommendationRequest,
  RefreshRequest,
  ReleasesAnswer,
  RemovedAnswer,
  RetractionAnswer,
  SearchAnswer,
  SearchRequest,
  SimilarAnswer,
  VideoAnswer,
  VideoBatch,
  VideoBatchAnswer,
  VideoChange,
  VideosAnswer,
  WhyAnswer,
} from "./models.js";

/** What can be asked, one call each. */
export abstract class Operations {
  protected abstract send<Answer>(call: Call, options?: CallOptions): Promise<Answer>;

  /**
   * A batch of events, answered after the commit, with a result for each row.
   *
   * Needs a key of role `ingest`.
   */
  postEvents(
    body: EventBatch,
    options?: CallOptions,
  ): Promise<EventAnswer> {
    return this.send({ method: "POST", path: path("/v1/events"), body, repeatable: true }, options);
  }

  /**
   * Takes back an event: the next list is made without it.
   *
   * Needs a key of role `ingest`.
   */
  deleteEvent(
    eventId: string,
    options?: CallOptions,
  ): Promise<RetractionAnswer> {
    return this.send({ method: "DELETE", path: path("/v1/events/{event_id}", eventId), repeatable: true }, options);
  }

  /**
   * The newest jobs.
   *
   * Needs a key of role `read`.
   *
   * @param query.limit how many at most
   */
  listJobs(
    query: { limit?: number } = {},
    options?: CallOptions,
  ): Promise<JobsAnswer> {
    return this.send({ method: "GET", path: path("/v1/jobs"), query, repeatable: true }, options);
  }

  /**
   * Where a job stands.
   *
   * Needs a key of role `read`.
   */
  getJob(
    jobId: string,
    options?: CallOptions,
  ): Promise<JobAnswer> {
    return this.send({ method: "GET", path: path("/v1/jobs/{job_id}", jobId), repeatable: true }, options);
  }

  /**
   * Lists for up to 1,000 viewers, with a result for each of them in order.
   *
   * Needs a key of role `read`.
   */
  postRecommendationsBatch(
    body: BatchRequest,
    options?: CallOptions,
  ): Promise<BatchAnswer> {
    return this.send({ method: "POST", path: path("/v1/recommendations:batch"), body, repeatable: true }, options);
  }

  /**
   * Starts a refresh as a job of its own.
   *
   * Needs a key of role `admin`.
   */
  postRefresh(
    body: RefreshRequest,
    options?: CallOptions,
  ): Promise<JobAnswer> {
    return this.send({ method: "POST", path: path("/v1/refresh"), body, keyed: true }, options);
  }

  /**
   * The releases, newest first; the served one is marked.
   *
   * Needs a key of role `read`.
   */
  listReleases(
    options?: CallOptions,
  ): Promise<ReleasesAnswer> {
    return this.send({ method: "GET", path: path("/v1/releases"), repeatable: true }, options);
  }

  /**
   * Serves a release from now on, after checking its files.
   *
   * Needs a key of role `admin`.
   */
  activateRelease(
    releaseId: string,
    options?: CallOptions,
  ): Promise<ActivatedAnswer> {
    return this.send({ method: "POST", path: path("/v1/releases/{release_id}/activate", releaseId) }, options);
  }

  /**
   * Videos by words, in what is written or seen of them, or by a picture or clip that is like them.
   *
   * Needs a key of role `read`.
   *
   * @param query.text what is looked for in words
   * @param query.mode where a text is looked for: in what is written of videos, in what is seen of them, or in both
   * @param query.limit how many at most
   * @param query.labels only videos with one of these labels
   * @param query.not_labels no videos with one of these labels
   * @param query.exclude video ids that must not be there
   * @param query.country of the viewer, ISO 3166
   * @param query.max_rating highest minimum age to show
   */
  postSearch(
    body: SearchRequest | Content,
    contentType?: string,
    query: { text?: string; mode?: "auto" | "text" | "pixels"; limit?: number; labels?: Array<string>; not_labels?: Array<string>; exclude?: Array<string>; country?: string; max_rating?: number } = {},
    options?: CallOptions,
  ): Promise<SearchAnswer> {
    return this.send({ method: "POST", path: path("/v1/search"), body, contentType, query, repeatable: true }, options);
  }

  /**
   * Erases a viewer everywhere, and gives a receipt.
   *
   * Needs a key of role `admin`.
   */
  eraseViewer(
    userId: string,
    options?: CallOptions,
  ): Promise<ErasureReceipt> {
    return this.send({ method: "DELETE", path: path("/v1/users/{user_id}", userId), repeatable: true }, options);
  }

  /**
   * All that is known of a viewer, as one document.
   *
   * Needs a key of role `admin`.
   */
  exportViewer(
    userId: string,
    options?: CallOptions,
  ): Promise<ExportAnswer> {
    return this.send({ method: "GET", path: path("/v1/users/{user_id}/export", userId), repeatable: true }, options);
  }

  /**
   * What a viewer did, newest first, in pages.
   *
   * Needs a key of role `read`.
   *
   * @param query.limit how many at most
   * @param query.cursor of the page before; all else must be the same
   * @param query.type only these; none: all but impressions
   */
  getHistory(
    userId: string,
    query: { limit?: number; cursor?: string; type?: EventType } = {},
    options?: CallOptions,
  ): Promise<HistoryAnswer> {
    return this.send({ method: "GET", path: path("/v1/users/{user_id}/history", userId), query, repeatable: true }, options);
  }

  /**
   * A page of titled rows for a viewer, with no video twice; an unknown viewer gets a good page too.
   *
   * Needs a key of role `read`.
   *
   * @param query.rows how many rows at most
   * @param query.limit how many videos in a row at most
   * @param query.surface where the page is shown
   * @param query.not_labels no videos with one of these labels
   * @param query.exclude video ids that must not be there
   * @param query.country of the viewer, ISO 3166
   * @param query.max_rating highest minimum age to show
   */
  getHome(
    userId: string,
    query: { rows?: number; limit?: number; surface?: string; not_labels?: Array<string>; exclude?: Array<string>; country?: string; max_rating?: number } = {},
    options?: CallOptions,
  ): Promise<HomeAnswer> {
    return this.send({ method: "GET", path: path("/v1/users/{user_id}/home", userId), query, repeatable: true }, options);
  }

  /**
   * Makes what a guest did this user's.
   *
   * Needs a key of role `ingest`.
   */
  mergeViewer(
    userId: string,
    body: MergeRequest,
    options?: CallOptions,
  ): Promise<MergeAnswer> {
    return this.send({ method: "POST", path: path("/v1/users/{user_id}/merge", userId), body }, options);
  }

  /**
   * A page of recommendations for a viewer; an unknown viewer gets a good list too.
   *
   * Needs a key of role `read`.
   *
   * @param query.limit how many at most
   * @param query.cursor of the page before; all else must be the same
   * @param query.surface where the list is shown
   * @param query.labels only videos with one of these labels
   * @param query.not_labels no videos with one of these labels
   * @param query.exclude video ids that must not be there
   * @param query.country of the viewer, ISO 3166
   * @param query.reasons say why each video is there
   */
  getRecommendations(
    userId: string,
    query: { limit?: number; cursor?: string; surface?: string; labels?: Array<string>; not_labels?: Array<string>; exclude?: Array<string>; country?: string; reasons?: boolean } = {},
    options?: CallOptions,
  ): Promise<RecommendationAnswer> {
    return this.send({ method: "GET", path: path("/v1/users/{user_id}/recommendations", userId), query, repeatable: true }, options);
  }

  /**
   * The same with context, session history and weights in a body.
   *
   * Needs a key of role `read`.
   */
  postRecommendations(
    userId: string,
    body: RecommendationRequest,
    options?: CallOptions,
  ): Promise<RecommendationAnswer> {
    return this.send({ method: "POST", path: path("/v1/users/{user_id}/recommendations", userId), body, repeatable: true }, options);
  }

  /**
   * The catalogue in pages, in the order of ids.
   *
   * Needs a key of role `read`.
   *
   * @param query.limit how many at most
   * @param query.cursor of the page before; all else must be the same
   * @param query.state state
   * @param query.label only videos with this label
   */
  listVideos(
    query: { limit?: number; cursor?: string; state?: "pending" | "ready" | "failed" | "no_media"; label?: string } = {},
    options?: CallOptions,
  ): Promise<VideosAnswer> {
    return this.send({ method: "GET", path: path("/v1/videos"), query, repeatable: true }, options);
  }

  /**
   * A batch of videos, answered after the commit, with a result for each row.
   *
   * Needs a key of role `ingest`.
   */
  postVideos(
    body: VideoBatch,
    options?: CallOptions,
  ): Promise<VideoBatchAnswer> {
    return this.send({ method: "POST", path: path("/v1/videos"), body, keyed: true }, options);
  }

  /**
   * One video.
   *
   * Needs a key of role `read`.
   */
  getVideo(
    videoId: string,
    options?: CallOptions,
  ): Promise<VideoAnswer> {
    return this.send({ method: "GET", path: path("/v1/videos/{video_id}", videoId), repeatable: true }, options);
  }

  /**
   * Changes the given fields of a video; null clears one.
   *
   * Needs a key of role `ingest`.
   */
  patchVideo(
    videoId: string,
    body: VideoChange,
    options?: CallOptions,
  ): Promise<VideoAnswer> {
    return this.send({ method: "PATCH", path: path("/v1/videos/{video_id}", videoId), body }, options);
  }

  /**
   * Removes a video: with the next request no list has it.
   *
   * Needs a key of role `ingest`.
   */
  deleteVideo(
    videoId: string,
    options?: CallOptions,
  ): Promise<RemovedAnswer> {
    return this.send({ method: "DELETE", path: path("/v1/videos/{video_id}", videoId), repeatable: true }, options);
  }

  /**
   * Takes a video down: with the next request no list has it.
   *
   * Needs a key of role `admin`.
   */
  hideVideo(
    videoId: string,
    options?: CallOptions,
  ): Promise<HiddenAnswer> {
    return this.send({ method: "POST", path: path("/v1/videos/{video_id}/hide", videoId), repeatable: true }, options);
  }

  /**
   * Takes the file of a video, which then waits for the encoder.
   *
   * Needs a key of role `ingest`.
   */
  putMedia(
    videoId: string,
    body: Content,
    contentType: string,
    options?: CallOptions,
  ): Promise<MediaAnswer> {
    return this.send({ method: "PUT", path: path("/v1/videos/{video_id}/media", videoId), body, contentType, repeatable: true }, options);
  }

  /**
   * What to watch after a video: the next episode first, then what is watched after it and what is alike.
   *
   * Needs a key of role `read`.
   *
   * @param query.user_id whose history counts, too
   * @param query.limit how many at most
   * @param query.labels only videos with one of these labels
   * @param query.not_labels no videos with one of these labels
   * @param query.exclude video ids that must not be there
   * @param query.country of the viewer, ISO 3166
   * @param query.max_rating highest minimum age to show
   */
  getNext(
    videoId: string,
    query: { user_id?: string; limit?: number; labels?: Array<string>; not_labels?: Array<string>; exclude?: Array<string>; country?: string; max_rating?: number } = {},
    options?: CallOptions,
  ): Promise<NextAnswer> {
    return this.send({ method: "GET", path: path("/v1/videos/{video_id}/next", videoId), query, repeatable: true }, options);
  }

  /**
   * Videos like one video, by looks, by who watches them, or both.
   *
   * Needs a key of role `read`.
   *
   * @param query.limit how many at most
   * @param query.by by looks, by who watches, or both
   * @param query.labels only videos with one of these labels
   * @param query.not_labels no videos with one of these labels
   * @param query.exclude video ids that must not be there
   * @param query.country of the viewer, ISO 3166
   * @param query.max_rating highest minimum age to show
   */
  getSimilar(
    videoId: string,
    query: { limit?: number; by?: "visual" | "cowatch" | "both"; labels?: Array<string>; not_labels?: Array<string>; exclude?: Array<string>; country?: string; max_rating?: number } = {},
    options?: CallOptions,
  ): Promise<SimilarAnswer> {
    return this.send({ method: "GET", path: path("/v1/videos/{video_id}/similar", videoId), query, repeatable: true }, options);
  }

  /**
   * Puts a video back.
   *
   * Needs a key of role `admin`.
   */
  unhideVideo(
    videoId: string,
    options?: CallOptions,
  ): Promise<HiddenAnswer> {
    return this.send({ method: "POST", path: path("/v1/videos/{video_id}/unhide", videoId), repeatable: true }, options);
  }

  /**
   * Why a video is in a viewer's list, or what keeps it out, with numbers.
   *
   * Needs a key of role `read`.
   *
   * @param query.user_id the viewer, by the id that your events name
   * @param query.video_id the video, by its id in the catalogue
   * @param query.country of the viewer, ISO 3166
   */
  getWhy(
    query: { user_id: string; video_id: string; country?: string },
    options?: CallOptions,
  ): Promise<WhyAnswer> {
    return this.send({ method: "GET", path: path("/v1/why"), query, repeatable: true }, options);
  }
}
