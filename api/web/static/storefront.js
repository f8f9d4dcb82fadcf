/* What the storefront does beyond htmx: the player's overlay, what viewers do as events, and rows that move.
   Knows nothing of how videos are chosen. */
"use strict";

(() => {
  const SURFACE = "storefront";
  const MOVE_MS = 520;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const byId = (id) => document.getElementById(id);
  const shelf = () => byId("shelf");

  // ---- Events: what the viewer does goes to the same address as from any other front end ----

  function uuid() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
  }

  function sessionId() {
    try {
      const known = sessionStorage.getItem("watchnext-session") || uuid();
      sessionStorage.setItem("watchnext-session", known);
      return known;
    } catch {
      return uuid(); // storage is forbidden here: a session is as long as the page
    }
  }
  const session = sessionId();

  async function post(event) {
    try {
      const response = await fetch("/v1/events", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ events: [event] }),
        keepalive: true,
      });
      if (!response.ok) throw new Error(`events: ${response.status}`);
      const answer = await response.json();
      if (answer.rejected) throw new Error(answer.results[0].detail);
      return true;
    } catch {
      toast("That could not be saved. Is the service there?");
      return false;
    }
  }

  // ---- The player: one Watching from the opening of a video to its end ----

  class Watching {
    constructor(article) {
      this.article = article;
      this.video = article.querySelector("video");
      this.sent = [];
      this.said = new Set();
      this.reported = 0;
      if (this.video) this.follow();
    }

    say(type, more = {}) {
      const { video, viewer, list, position } = this.article.dataset;
      const country = shelf()?.dataset.country;
      const event = {
        event_id: uuid(), user_id: viewer, video_id: video, type, occurred_at: new Date().toISOString(),
        session_id: session, surface: SURFACE, ...more,
      };
      if (list) event.request_id = list;
      if (position) event.position = Number(position);
      if (country) event.country = country;
      this.sent.push(post(event));
    }

    once(type) {
      if (this.said.has(type)) return;
      this.said.add(type);
      this.say(type);
    }

    /* The share of the video that was really played: what is skipped does not count. */
    fraction() {
      const { played, duration } = this.video;
      if (!(duration > 0)) return 0;
      let seconds = 0;
      for (let part = 0; part < played.length; part++) seconds += played.end(part) - played.start(part);
      return Math.min(1, seconds / duration);
    }

    report(atLeast = 0) {
      if (!this.video) return;
      const fraction = this.fraction();
      if (fraction <= this.reported + atLeast) return;
      this.reported = fraction;
      const value = Number(fraction.toFixed(3));
      this.say("watch", { value, duration_s: Number((fraction * this.video.duration).toFixed(2)) });
    }

    follow() {
      const { video } = this;
      video.muted = true;
      video.addEventListener("playing", () => {
        this.article.dataset.state = "playing";
        this.once("play");
      });
      video.addEventListener("pause", () => { if (!video.ended) this.report(0.1); });
      video.addEventListener("ended", () => {
        this.article.dataset.state = "ended";
        this.report();
        if (this.fraction() >= 0.7) this.once("complete");
      });
      video.addEventListener("error", () => {
        video.hidden = true;
        this.article.querySelector(".watch__still").hidden = false;
      });
      video.play().catch(() => {}); // the browser may want a click first; the controls are there
    }

    /* What is still to be said, and whether the service took anything. */
    async end() {
      this.report();
      return (await Promise.all(this.sent)).some(Boolean);
    }
  }

  let watching = null;
  let opener = null;

  async function finish() {
    const ended = watching;
    watching = null;
    if (ended && (await ended.end())) {
      stir.pending = true;
      htmx.trigger(shelf(), "viewer-acted");
    }
  }

  function openPlayer() {
    const article = document.querySelector("#player-content .watch");
    if (!article) return;
    watching = new Watching(article);
    const player = byId("player");
    if (!player.open) player.showModal();
    player.scrollTop = 0;
    article.querySelector("#player-title").focus({ preventScroll: true });
  }

  function press(button) {
    if (!watching) return;
    const type = button.dataset.say;
    watching.once(type);
    button.setAttribute("aria-pressed", "true");
    if (type === "like") button.querySelector("span").textContent = "Liked";
    else byId("player").close();
  }

  // ---- Rows that show how they change ----

  const stir = { pending: false, before: null };

  function remember() {
    const places = new Map();
    const scrolled = new Map();
    const first = new Set();
    for (const row of shelf().querySelectorAll("[data-row]")) {
      const list = row.querySelector(".row__cards");
      if (list) scrolled.set(row.dataset.row, list.scrollLeft);
      for (const card of row.querySelectorAll("[data-card]")) {
        const { left, top } = card.getBoundingClientRect();
        places.set(card.dataset.card, { row: row.dataset.row, left, top });
        if (row.dataset.row === "for_you" || row.dataset.row === "hero") first.add(card.dataset.card);
      }
    }
    return { places, scrolled, first };
  }

  function showChange(before) {
    let fresh = 0;
    for (const row of shelf().querySelectorAll("[data-row]")) {
      const list = row.querySelector(".row__cards");
      if (list) list.scrollLeft = before.scrolled.get(row.dataset.row) ?? 0;
      for (const card of row.querySelectorAll("[data-card]")) {
        const id = card.dataset.card;
        if (["for_you", "hero"].includes(row.dataset.row) && !before.first.has(id)) fresh++;
        move(card, before.places.get(id), row.dataset.row);
      }
    }
    toast(fresh ? `Your list has changed: ${fresh} new ${fresh === 1 ? "video" : "videos"}` : "Noted. Your list stays as it is");
  }

  function move(card, was, row) {
    if (calm.matches) return;
    const now = card.getBoundingClientRect();
    if (now.left > innerWidth || now.right < 0 || now.top > 2 * innerHeight) return;
    if (was && was.row === row) {
      const [x, y] = [was.left - now.left, was.top - now.top];
      if (x || y) card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: MOVE_MS, easing: "cubic-bezier(.2,.8,.2,1)" });
      return;
    }
    card.animate([{ opacity: 0, transform: "scale(.86)" }, { opacity: 1, transform: "none" }], { duration: MOVE_MS, delay: 120, fill: "backwards", easing: "cubic-bezier(.2,.8,.2,1)" });
  }

  function toast(text) {
    const line = document.createElement("p");
    line.className = "toast";
    line.textContent = text;
    const box = byId("player").open ? byId("player") : document.body; // above a modal only what is in it is seen
    box.append(byId("toasts"));
    byId("toasts").replaceChildren(line);
    setTimeout(() => line.remove(), 4500);
  }

  function setUpArrows() {
    for (const list of document.querySelectorAll(".row__cards")) {
      const [back, on] = list.parentElement.querySelectorAll(".row__arrow");
      const look = () => {
        back.classList.toggle("is-off", list.scrollLeft < 8);
        on.classList.toggle("is-off", list.scrollLeft + list.clientWidth > list.scrollWidth - 8);
      };
      list.addEventListener("scroll", look, { passive: true });
      look();
    }
  }

  /* The card that was clicked may be gone; then its place in the row gets the focus. */
  function giveFocusBack() {
    if (!opener || document.activeElement !== document.body) return;
    const cards = shelf().querySelectorAll(`[data-row="${CSS.escape(opener.row)}"] button[hx-get]`);
    const next = cards[Math.min(opener.index, cards.length - 1)];
    if (next) next.focus({ preventScroll: true, focusVisible: false });
    opener = null;
  }

  function rememberOpener(button) {
    const row = button.closest("#shelf [data-row]");
    if (!row) return;
    opener = { row: row.dataset.row, index: [...row.querySelectorAll("button[hx-get]")].indexOf(button) };
  }

  // ---- The viewer switcher ----

  const entries = () => [...document.querySelectorAll("#viewer-list li")];
  const shown = () => entries().filter((entry) => !entry.hidden).map((entry) => entry.querySelector("a"));

  function filterViewers() {
    const wanted = byId("viewer-search").value.trim().toLowerCase();
    for (const entry of entries()) entry.hidden = !entry.dataset.viewerName.includes(wanted);
    const none = document.querySelector("#viewer-list .panel__none");
    if (none) none.hidden = shown().length > 0 || !wanted;
  }

  function markViewer() {
    const name = shelf().dataset.viewer.toLowerCase();
    for (const entry of entries()) {
      entry.querySelector("a").setAttribute("aria-current", String(entry.dataset.viewerName === name));
    }
  }

  function walkViewers(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (!(event.key in steps)) return;
    const stops = [byId("viewer-search"), ...shown()];
    const at = stops.indexOf(document.activeElement) + steps[event.key];
    event.preventDefault();
    stops[Math.max(0, Math.min(at, stops.length - 1))].focus();
  }

  function walkCards(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    const card = event.target.closest?.(".row__cards .card");
    if (!card || !(event.key in steps)) return;
    const cards = [...card.closest(".row__cards").querySelectorAll(".card")];
    const next = cards[cards.indexOf(card) + steps[event.key]];
    event.preventDefault();
    if (!next) return;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", inline: "nearest", block: "nearest" });
  }

  // ---- Wiring ----

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.say) press(button);
    else if (button?.hasAttribute("data-close") || event.target === byId("player")) byId("player").close();
    else if (button?.dataset.scroll) {
      const list = button.parentElement.querySelector(".row__cards");
      list.scrollBy({ left: Number(button.dataset.scroll) * list.clientWidth * 0.85, behavior: calm.matches ? "auto" : "smooth" });
    } else if (button?.matches("[hx-get]")) rememberOpener(button);
  });
  document.addEventListener("keydown", walkCards);
  byId("viewers").addEventListener("keydown", walkViewers);
  byId("viewers").addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    byId("viewer-search").value = "";
    filterViewers();
    byId("viewer-search").focus();
  });
  byId("viewer-search").addEventListener("input", filterViewers);
  byId("viewer-search").form.addEventListener("submit", (event) => {
    const [match] = shown();
    if (!byId("viewer-search").value.trim()) event.preventDefault();
    else if (match) {
      event.preventDefault();
      match.click();
    }
  });
  byId("player").addEventListener("close", () => {
    document.body.append(byId("toasts"));
    finish();
    byId("player-content").replaceChildren();
  });
  window.addEventListener("pagehide", () => watching?.report());
  document.addEventListener("visibilitychange", () => { if (document.hidden) watching?.report(0.1); });

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { target } = event.detail;
    if (target.id === "player-content") finish(); // another video in the same player
    if (target.id === "shelf" && stir.pending) stir.before = remember();
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const { target } = event.detail;
    if (target.id === "player-content") openPlayer();
    if (target.id !== "shelf") return;
    if (byId("viewers").matches(":popover-open")) byId("viewers").hidePopover();
    markViewer();
    setUpArrows();
    if (stir.before) showChange(stir.before);
    else opener = null;
    stir.pending = false;
    stir.before = null;
    giveFocusBack();
  });
  document.body.addEventListener("htmx:responseError", () => toast("This is not there any more"));
  document.body.addEventListener("htmx:sendError", () => toast("The service does not answer"));
  setUpArrows();
})();
