// A method for each operation of the API.
// Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.

import type { Call, CallOptions } from "./calls.js";
import { path } from "./calls.js";
import type {
  EventAnswer,
  EventBatch,
  HiddenAnswer,
  RecommendationAnswer,
  RecommendationRequest,
  SimilarAnswer,
  VideoAnswer,
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
   * Videos like one video, by looks, by who watches them, or both.
   *
   * Needs a key of role `read`.
   *
   * @param query.limit how many at most
   * @param query.by by looks, by who watches, or both
   * @param query.labels only videos with one of these labels
   * @param query.exclude video ids that must not be there
   * @param query.country of the viewer, ISO 3166
   * @param query.max_rating highest minimum age to show
   */
  getSimilar(
    videoId: string,
    query: { limit?: number; by?: "visual" | "cowatch" | "both"; labels?: Array<string>; exclude?: Array<string>; country?: string; max_rating?: number } = {},
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
