"""A method for each operation of the API.

Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.
"""

from typing import Any, Literal, cast

from watchnext_client.calls import Call, Content, path
from watchnext_client.models import (
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
)


class Operations:
    """What can be asked, one call each."""

    def _send(self, call: Call) -> Any:
        raise NotImplementedError

    def post_events(self, body: EventBatch) -> EventAnswer:
        """A batch of events, answered after the commit, with a result for each row.

        Needs a key of role `ingest`.
        """
        return cast("EventAnswer", self._send(Call("POST", path("/v1/events"), body=body, repeatable=True)))

    def delete_event(self, event_id: str) -> RetractionAnswer:
        """Takes back an event: the next list is made without it.

        Needs a key of role `ingest`.
        """
        return cast(
            "RetractionAnswer", self._send(Call("DELETE", path("/v1/events/{event_id}", event_id), repeatable=True))
        )

    def list_jobs(self, *, limit: int | None = None) -> JobsAnswer:
        """The newest jobs.

        Needs a key of role `read`.

        limit: how many at most
        """
        return cast("JobsAnswer", self._send(Call("GET", path("/v1/jobs"), query={"limit": limit}, repeatable=True)))

    def get_job(self, job_id: str) -> JobAnswer:
        """Where a job stands.

        Needs a key of role `read`.
        """
        return cast("JobAnswer", self._send(Call("GET", path("/v1/jobs/{job_id}", job_id), repeatable=True)))

    def post_recommendations_batch(self, body: BatchRequest) -> BatchAnswer:
        """Lists for up to 1,000 viewers, with a result for each of them in order.

        Needs a key of role `read`.
        """
        return cast(
            "BatchAnswer", self._send(Call("POST", path("/v1/recommendations:batch"), body=body, repeatable=True))
        )

    def post_refresh(self, body: RefreshRequest) -> JobAnswer:
        """Starts a refresh as a job of its own.

        Needs a key of role `admin`.
        """
        return cast("JobAnswer", self._send(Call("POST", path("/v1/refresh"), body=body, keyed=True)))

    def list_releases(self) -> ReleasesAnswer:
        """The releases, newest first; the served one is marked.

        Needs a key of role `read`.
        """
        return cast("ReleasesAnswer", self._send(Call("GET", path("/v1/releases"), repeatable=True)))

    def activate_release(self, release_id: str) -> ActivatedAnswer:
        """Serves a release from now on, after checking its files.

        Needs a key of role `admin`.
        """
        return cast("ActivatedAnswer", self._send(Call("POST", path("/v1/releases/{release_id}/activate", release_id))))

    def post_search(
        self,
        body: SearchRequest | None = None,
        content: Content | None = None,
        *,
        content_type: str = "application/octet-stream",
        text: str | None = None,
        mode: Literal["auto", "text", "pixels"] | None = None,
        limit: int | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> SearchAnswer:
        """Videos by words, in what is written or seen of them, or by a picture or clip that is like them.

        Needs a key of role `read`.

        text: what is looked for in words
        mode: where a text is looked for: in what is written of videos, in what is seen of them, or in both
        limit: how many at most
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "SearchAnswer",
            self._send(
                Call(
                    "POST",
                    path("/v1/search"),
                    body=body,
                    content=content,
                    content_type=content_type,
                    query={
                        "text": text,
                        "mode": mode,
                        "limit": limit,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    def erase_viewer(self, user_id: str) -> ErasureReceipt:
        """Erases a viewer everywhere, and gives a receipt.

        Needs a key of role `admin`.
        """
        return cast("ErasureReceipt", self._send(Call("DELETE", path("/v1/users/{user_id}", user_id), repeatable=True)))

    def export_viewer(self, user_id: str) -> ExportAnswer:
        """All that is known of a viewer, as one document.

        Needs a key of role `admin`.
        """
        return cast(
            "ExportAnswer", self._send(Call("GET", path("/v1/users/{user_id}/export", user_id), repeatable=True))
        )

    def get_history(
        self, user_id: str, *, limit: int | None = None, cursor: str | None = None, type: EventType | None = None
    ) -> HistoryAnswer:
        """What a viewer did, newest first, in pages.

        Needs a key of role `read`.

        limit: how many at most
        cursor: of the page before; all else must be the same
        type: only these; none: all but impressions
        """
        return cast(
            "HistoryAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/users/{user_id}/history", user_id),
                    query={"limit": limit, "cursor": cursor, "type": type},
                    repeatable=True,
                )
            ),
        )

    def get_home(
        self,
        user_id: str,
        *,
        rows: int | None = None,
        limit: int | None = None,
        surface: str | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> HomeAnswer:
        """A page of titled rows for a viewer, with no video twice; an unknown viewer gets a good page too.

        Needs a key of role `read`.

        rows: how many rows at most
        limit: how many videos in a row at most
        surface: where the page is shown
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "HomeAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/users/{user_id}/home", user_id),
                    query={
                        "rows": rows,
                        "limit": limit,
                        "surface": surface,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    def merge_viewer(self, user_id: str, body: MergeRequest) -> MergeAnswer:
        """Makes what a guest did this user's.

        Needs a key of role `ingest`.
        """
        return cast("MergeAnswer", self._send(Call("POST", path("/v1/users/{user_id}/merge", user_id), body=body)))

    def get_recommendations(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        surface: str | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        reasons: bool | None = None,
    ) -> RecommendationAnswer:
        """A page of recommendations for a viewer; an unknown viewer gets a good list too.

        Needs a key of role `read`.

        limit: how many at most
        cursor: of the page before; all else must be the same
        surface: where the list is shown
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        reasons: say why each video is there
        """
        return cast(
            "RecommendationAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/users/{user_id}/recommendations", user_id),
                    query={
                        "limit": limit,
                        "cursor": cursor,
                        "surface": surface,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "reasons": reasons,
                    },
                    repeatable=True,
                )
            ),
        )

    def post_recommendations(self, user_id: str, body: RecommendationRequest) -> RecommendationAnswer:
        """The same with context, session history and weights in a body.

        Needs a key of role `read`.
        """
        return cast(
            "RecommendationAnswer",
            self._send(Call("POST", path("/v1/users/{user_id}/recommendations", user_id), body=body, repeatable=True)),
        )

    def list_videos(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        state: Literal["pending", "ready", "failed", "no_media"] | None = None,
        label: str | None = None,
    ) -> VideosAnswer:
        """The catalogue in pages, in the order of ids.

        Needs a key of role `read`.

        limit: how many at most
        cursor: of the page before; all else must be the same
        state: state
        label: only videos with this label
        """
        return cast(
            "VideosAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/videos"),
                    query={"limit": limit, "cursor": cursor, "state": state, "label": label},
                    repeatable=True,
                )
            ),
        )

    def post_videos(self, body: VideoBatch) -> VideoBatchAnswer:
        """A batch of videos, answered after the commit, with a result for each row.

        Needs a key of role `ingest`.
        """
        return cast("VideoBatchAnswer", self._send(Call("POST", path("/v1/videos"), body=body, keyed=True)))

    def get_video(self, video_id: str) -> VideoAnswer:
        """One video.

        Needs a key of role `read`.
        """
        return cast("VideoAnswer", self._send(Call("GET", path("/v1/videos/{video_id}", video_id), repeatable=True)))

    def patch_video(self, video_id: str, body: VideoChange) -> VideoAnswer:
        """Changes the given fields of a video; null clears one.

        Needs a key of role `ingest`.
        """
        return cast("VideoAnswer", self._send(Call("PATCH", path("/v1/videos/{video_id}", video_id), body=body)))

    def delete_video(self, video_id: str) -> RemovedAnswer:
        """Removes a video: with the next request no list has it.

        Needs a key of role `ingest`.
        """
        return cast(
            "RemovedAnswer", self._send(Call("DELETE", path("/v1/videos/{video_id}", video_id), repeatable=True))
        )

    def hide_video(self, video_id: str) -> HiddenAnswer:
        """Takes a video down: with the next request no list has it.

        Needs a key of role `admin`.
        """
        return cast(
            "HiddenAnswer", self._send(Call("POST", path("/v1/videos/{video_id}/hide", video_id), repeatable=True))
        )

    def put_media(self, video_id: str, content: Content, *, content_type: str) -> MediaAnswer:
        """Takes the file of a video, which then waits for the encoder.

        Needs a key of role `ingest`.
        """
        return cast(
            "MediaAnswer",
            self._send(
                Call(
                    "PUT",
                    path("/v1/videos/{video_id}/media", video_id),
                    content=content,
                    content_type=content_type,
                    repeatable=True,
                )
            ),
        )

    def get_next(
        self,
        video_id: str,
        *,
        user_id: str | None = None,
        limit: int | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> NextAnswer:
        """What to watch after a video: the next episode first, then what is watched after it and what is
        alike.

        Needs a key of role `read`.

        user_id: whose history counts, too
        limit: how many at most
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "NextAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/videos/{video_id}/next", video_id),
                    query={
                        "user_id": user_id,
                        "limit": limit,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    def get_similar(
        self,
        video_id: str,
        *,
        limit: int | None = None,
        by: Literal["visual", "cowatch", "both"] | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> SimilarAnswer:
        """Videos like one video, by looks, by who watches them, or both.

        Needs a key of role `read`.

        limit: how many at most
        by: by looks, by who watches, or both
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "SimilarAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/videos/{video_id}/similar", video_id),
                    query={
                        "limit": limit,
                        "by": by,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    def unhide_video(self, video_id: str) -> HiddenAnswer:
        """Puts a video back.

        Needs a key of role `admin`.
        """
        return cast(
            "HiddenAnswer", self._send(Call("POST", path("/v1/videos/{video_id}/unhide", video_id), repeatable=True))
        )

    def get_why(self, *, user_id: str, video_id: str, country: str | None = None) -> WhyAnswer:
        """Why a video is in a viewer's list, or what keeps it out, with numbers.

        Needs a key of role `read`.

        user_id: the viewer, by the id that your events name
        video_id: the video, by its id in the catalogue
        country: of the viewer, ISO 3166
        """
        return cast(
            "WhyAnswer",
            self._send(
                Call(
                    "GET",
                    path("/v1/why"),
                    query={"user_id": user_id, "video_id": video_id, "country": country},
                    repeatable=True,
                )
            ),
        )


class AsyncOperations:
    """What can be asked, one call each, with await."""

    async def _send(self, call: Call) -> Any:
        raise NotImplementedError

    async def post_events(self, body: EventBatch) -> EventAnswer:
        """A batch of events, answered after the commit, with a result for each row.

        Needs a key of role `ingest`.
        """
        return cast("EventAnswer", await self._send(Call("POST", path("/v1/events"), body=body, repeatable=True)))

    async def delete_event(self, event_id: str) -> RetractionAnswer:
        """Takes back an event: the next list is made without it.

        Needs a key of role `ingest`.
        """
        return cast(
            "RetractionAnswer",
            await self._send(Call("DELETE", path("/v1/events/{event_id}", event_id), repeatable=True)),
        )

    async def list_jobs(self, *, limit: int | None = None) -> JobsAnswer:
        """The newest jobs.

        Needs a key of role `read`.

        limit: how many at most
        """
        return cast(
            "JobsAnswer", await self._send(Call("GET", path("/v1/jobs"), query={"limit": limit}, repeatable=True))
        )

    async def get_job(self, job_id: str) -> JobAnswer:
        """Where a job stands.

        Needs a key of role `read`.
        """
        return cast("JobAnswer", await self._send(Call("GET", path("/v1/jobs/{job_id}", job_id), repeatable=True)))

    async def post_recommendations_batch(self, body: BatchRequest) -> BatchAnswer:
        """Lists for up to 1,000 viewers, with a result for each of them in order.

        Needs a key of role `read`.
        """
        return cast(
            "BatchAnswer", await self._send(Call("POST", path("/v1/recommendations:batch"), body=body, repeatable=True))
        )

    async def post_refresh(self, body: RefreshRequest) -> JobAnswer:
        """Starts a refresh as a job of its own.

        Needs a key of role `admin`.
        """
        return cast("JobAnswer", await self._send(Call("POST", path("/v1/refresh"), body=body, keyed=True)))

    async def list_releases(self) -> ReleasesAnswer:
        """The releases, newest first; the served one is marked.

        Needs a key of role `read`.
        """
        return cast("ReleasesAnswer", await self._send(Call("GET", path("/v1/releases"), repeatable=True)))

    async def activate_release(self, release_id: str) -> ActivatedAnswer:
        """Serves a release from now on, after checking its files.

        Needs a key of role `admin`.
        """
        return cast(
            "ActivatedAnswer", await self._send(Call("POST", path("/v1/releases/{release_id}/activate", release_id)))
        )

    async def post_search(
        self,
        body: SearchRequest | None = None,
        content: Content | None = None,
        *,
        content_type: str = "application/octet-stream",
        text: str | None = None,
        mode: Literal["auto", "text", "pixels"] | None = None,
        limit: int | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> SearchAnswer:
        """Videos by words, in what is written or seen of them, or by a picture or clip that is like them.

        Needs a key of role `read`.

        text: what is looked for in words
        mode: where a text is looked for: in what is written of videos, in what is seen of them, or in both
        limit: how many at most
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "SearchAnswer",
            await self._send(
                Call(
                    "POST",
                    path("/v1/search"),
                    body=body,
                    content=content,
                    content_type=content_type,
                    query={
                        "text": text,
                        "mode": mode,
                        "limit": limit,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    async def erase_viewer(self, user_id: str) -> ErasureReceipt:
        """Erases a viewer everywhere, and gives a receipt.

        Needs a key of role `admin`.
        """
        return cast(
            "ErasureReceipt", await self._send(Call("DELETE", path("/v1/users/{user_id}", user_id), repeatable=True))
        )

    async def export_viewer(self, user_id: str) -> ExportAnswer:
        """All that is known of a viewer, as one document.

        Needs a key of role `admin`.
        """
        return cast(
            "ExportAnswer", await self._send(Call("GET", path("/v1/users/{user_id}/export", user_id), repeatable=True))
        )

    async def get_history(
        self, user_id: str, *, limit: int | None = None, cursor: str | None = None, type: EventType | None = None
    ) -> HistoryAnswer:
        """What a viewer did, newest first, in pages.

        Needs a key of role `read`.

        limit: how many at most
        cursor: of the page before; all else must be the same
        type: only these; none: all but impressions
        """
        return cast(
            "HistoryAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/users/{user_id}/history", user_id),
                    query={"limit": limit, "cursor": cursor, "type": type},
                    repeatable=True,
                )
            ),
        )

    async def get_home(
        self,
        user_id: str,
        *,
        rows: int | None = None,
        limit: int | None = None,
        surface: str | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> HomeAnswer:
        """A page of titled rows for a viewer, with no video twice; an unknown viewer gets a good page too.

        Needs a key of role `read`.

        rows: how many rows at most
        limit: how many videos in a row at most
        surface: where the page is shown
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "HomeAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/users/{user_id}/home", user_id),
                    query={
                        "rows": rows,
                        "limit": limit,
                        "surface": surface,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    async def merge_viewer(self, user_id: str, body: MergeRequest) -> MergeAnswer:
        """Makes what a guest did this user's.

        Needs a key of role `ingest`.
        """
        return cast(
            "MergeAnswer", await self._send(Call("POST", path("/v1/users/{user_id}/merge", user_id), body=body))
        )

    async def get_recommendations(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        surface: str | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        reasons: bool | None = None,
    ) -> RecommendationAnswer:
        """A page of recommendations for a viewer; an unknown viewer gets a good list too.

        Needs a key of role `read`.

        limit: how many at most
        cursor: of the page before; all else must be the same
        surface: where the list is shown
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        reasons: say why each video is there
        """
        return cast(
            "RecommendationAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/users/{user_id}/recommendations", user_id),
                    query={
                        "limit": limit,
                        "cursor": cursor,
                        "surface": surface,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "reasons": reasons,
                    },
                    repeatable=True,
                )
            ),
        )

    async def post_recommendations(self, user_id: str, body: RecommendationRequest) -> RecommendationAnswer:
        """The same with context, session history and weights in a body.

        Needs a key of role `read`.
        """
        return cast(
            "RecommendationAnswer",
            await self._send(
                Call("POST", path("/v1/users/{user_id}/recommendations", user_id), body=body, repeatable=True)
            ),
        )

    async def list_videos(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        state: Literal["pending", "ready", "failed", "no_media"] | None = None,
        label: str | None = None,
    ) -> VideosAnswer:
        """The catalogue in pages, in the order of ids.

        Needs a key of role `read`.

        limit: how many at most
        cursor: of the page before; all else must be the same
        state: state
        label: only videos with this label
        """
        return cast(
            "VideosAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/videos"),
                    query={"limit": limit, "cursor": cursor, "state": state, "label": label},
                    repeatable=True,
                )
            ),
        )

    async def post_videos(self, body: VideoBatch) -> VideoBatchAnswer:
        """A batch of videos, answered after the commit, with a result for each row.

        Needs a key of role `ingest`.
        """
        return cast("VideoBatchAnswer", await self._send(Call("POST", path("/v1/videos"), body=body, keyed=True)))

    async def get_video(self, video_id: str) -> VideoAnswer:
        """One video.

        Needs a key of role `read`.
        """
        return cast(
            "VideoAnswer", await self._send(Call("GET", path("/v1/videos/{video_id}", video_id), repeatable=True))
        )

    async def patch_video(self, video_id: str, body: VideoChange) -> VideoAnswer:
        """Changes the given fields of a video; null clears one.

        Needs a key of role `ingest`.
        """
        return cast("VideoAnswer", await self._send(Call("PATCH", path("/v1/videos/{video_id}", video_id), body=body)))

    async def delete_video(self, video_id: str) -> RemovedAnswer:
        """Removes a video: with the next request no list has it.

        Needs a key of role `ingest`.
        """
        return cast(
            "RemovedAnswer", await self._send(Call("DELETE", path("/v1/videos/{video_id}", video_id), repeatable=True))
        )

    async def hide_video(self, video_id: str) -> HiddenAnswer:
        """Takes a video down: with the next request no list has it.

        Needs a key of role `admin`.
        """
        return cast(
            "HiddenAnswer",
            await self._send(Call("POST", path("/v1/videos/{video_id}/hide", video_id), repeatable=True)),
        )

    async def put_media(self, video_id: str, content: Content, *, content_type: str) -> MediaAnswer:
        """Takes the file of a video, which then waits for the encoder.

        Needs a key of role `ingest`.
        """
        return cast(
            "MediaAnswer",
            await self._send(
                Call(
                    "PUT",
                    path("/v1/videos/{video_id}/media", video_id),
                    content=content,
                    content_type=content_type,
                    repeatable=True,
                )
            ),
        )

    async def get_next(
        self,
        video_id: str,
        *,
        user_id: str | None = None,
        limit: int | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> NextAnswer:
        """What to watch after a video: the next episode first, then what is watched after it and what is
        alike.

        Needs a key of role `read`.

        user_id: whose history counts, too
        limit: how many at most
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "NextAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/videos/{video_id}/next", video_id),
                    query={
                        "user_id": user_id,
                        "limit": limit,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    async def get_similar(
        self,
        video_id: str,
        *,
        limit: int | None = None,
        by: Literal["visual", "cowatch", "both"] | None = None,
        labels: list[str] | None = None,
        not_labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> SimilarAnswer:
        """Videos like one video, by looks, by who watches them, or both.

        Needs a key of role `read`.

        limit: how many at most
        by: by looks, by who watches, or both
        labels: only videos with one of these labels
        not_labels: no videos with one of these labels
        exclude: video ids that must not be there
        country: of the viewer, ISO 3166
        max_rating: highest minimum age to show
        """
        return cast(
            "SimilarAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/videos/{video_id}/similar", video_id),
                    query={
                        "limit": limit,
                        "by": by,
                        "labels": labels,
                        "not_labels": not_labels,
                        "exclude": exclude,
                        "country": country,
                        "max_rating": max_rating,
                    },
                    repeatable=True,
                )
            ),
        )

    async def unhide_video(self, video_id: str) -> HiddenAnswer:
        """Puts a video back.

        Needs a key of role `admin`.
        """
        return cast(
            "HiddenAnswer",
            await self._send(Call("POST", path("/v1/videos/{video_id}/unhide", video_id), repeatable=True)),
        )

    async def get_why(self, *, user_id: str, video_id: str, country: str | None = None) -> WhyAnswer:
        """Why a video is in a viewer's list, or what keeps it out, with numbers.

        Needs a key of role `read`.

        user_id: the viewer, by the id that your events name
        video_id: the video, by its id in the catalogue
        country: of the viewer, ISO 3166
        """
        return cast(
            "WhyAnswer",
            await self._send(
                Call(
                    "GET",
                    path("/v1/why"),
                    query={"user_id": user_id, "video_id": video_id, "country": country},
                    repeatable=True,
                )
            ),
        )
