// Asks a running server through the built client and prints what came: node visit.mjs CLIENT ADDRESS KEY
const [client, url, key] = process.argv.slice(2);
const { WatchNext, ProblemError, UnreachableError } = await import(client);
const seen = {};

const watchnext = new WatchNext({ url, key });
const list = await watchnext.getRecommendations("a/b c?é", { limit: 5, exclude: ["comedy-1", "comedy-2"] });
seen.user = list.user_id;
seen.items = list.items.length;
seen.posted = (await watchnext.postRecommendations("u0", { limit: 3 })).items.length;

seen.videos = [];
for await (const video of watchnext.items((cursor) => watchnext.listVideos({ limit: 7, label: "space", ...cursor }))) {
  seen.videos.push(video.id);
}

const problem = await watchnext.getVideo("nothing", { requestId: "abc-1" }).catch((error) => error);
seen.problem = [problem instanceof ProblemError, problem.status, problem.code, problem.field, problem.requestId];

const rejected = [];
const events = watchnext.events({ size: 2, onRejected: (event, result) => rejected.push([event.video_id, result.code]) });
events.add({ user_id: "ts", video_id: "space-3", type: "play" });
events.add({ user_id: "ts", video_id: "nowhere", type: "play" });
events.add({ user_id: "ts", video_id: "space-4", type: "watch", value: 0.8 });
await events.flush();
seen.rejected = rejected;
seen.waiting = events.length;

// A service that has no time at first.
const asked = [];
const busy = new WatchNext({
  url,
  key,
  fetch: (address, request) => {
    asked.push(request.headers.get("X-Request-ID"));
    const away = { status: 503, headers: { "Retry-After": "1" } };
    return asked.length === 1 ? Promise.resolve(new Response("{}", away)) : fetch(address, request);
  },
});
const began = performance.now();
await busy.listVideos({}, { deadlineMs: 500 });
seen.retried = [asked.length, asked[0] === asked[1], performance.now() - began >= 1000];

const nobody = await new WatchNext({ url: "http://127.0.0.1:9", retries: 0 }).listVideos().catch((error) => error);
seen.unreachable = nobody instanceof UnreachableError;

console.log(JSON.stringify(seen));
