"""A method for each operation of the API.

Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.
"""

from typing import Any, Literal, cast

from watchnext_client.calls import Call, path
from watchnext_client.models import (
    EventAnswer,
    EventBatch,
    HiddenAnswer,
    RecommendationAnswer,
    RecommendationRequest,
    SimilarAnswer,
    VideoAnswer,
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

    def get_video(self, video_id: str) -> VideoAnswer:
        """One video.

        Needs a key of role `read`.
        """
        return cast("VideoAnswer", self._send(Call("GET", path("/v1/videos/{video_id}", video_id), repeatable=True)))

    def hide_video(self, video_id: str) -> HiddenAnswer:
        """Takes a video down: with the next request no list has it.

        Needs a key of role `admin`.
        """
        return cast(
            "HiddenAnswer", self._send(Call("POST", path("/v1/videos/{video_id}/hide", video_id), repeatable=True))
        )

    def get_similar(
        self,
        video_id: str,
        *,
        limit: int | None = None,
        by: Literal["visual", "cowatch", "both"] | None = None,
        labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> SimilarAnswer:
        """Videos like one video, by looks, by who watches them, or both.

        Needs a key of role `read`.

        limit: how many at most
        by: by looks, by who watches, or both
        labels: only videos with one of these labels
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

    async def get_video(self, video_id: str) -> VideoAnswer:
        """One video.

        Needs a key of role `read`.
        """
        return cast(
            "VideoAnswer", await self._send(Call("GET", path("/v1/videos/{video_id}", video_id), repeatable=True))
        )

    async def hide_video(self, video_id: str) -> HiddenAnswer:
        """Takes a video down: with the next request no list has it.

        Needs a key of role `admin`.
        """
        return cast(
            "HiddenAnswer",
            await self._send(Call("POST", path("/v1/videos/{video_id}/hide", video_id), repeatable=True)),
        )

    async def get_similar(
        self,
        video_id: str,
        *,
        limit: int | None = None,
        by: Literal["visual", "cowatch", "both"] | None = None,
        labels: list[str] | None = None,
        exclude: list[str] | None = None,
        country: str | None = None,
        max_rating: int | None = None,
    ) -> SimilarAnswer:
        """Videos like one video, by looks, by who watches them, or both.

        Needs a key of role `read`.

        limit: how many at most
        by: by looks, by who watches, or both
        labels: only videos with one of these labels
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
