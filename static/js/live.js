// A view that follows the server: every "view" event carries the view's HTML, and morphing it in
// place keeps focus, selection, opened folds and scroll where they are.
//
// <div id="run" data-live="/projects/1/runs/2/events">…</div>
// <p role="status" data-live-state="run"></p>
//
// Events: "view" (HTML), "ping" (nothing: the connection lives), "end" (nothing more will come;
// data may hold an address to go to). The server may also send "reload".
//
// What stands around the view and says something else once it has ended bears an id and
// data-renewed-at-end; it is then taken from the page as it would be loaded now.

import { Idiomorph } from "../vendor/idiomorph.js";
import { reloadIfRefused } from "./gone.js";

const QUIET_LIMIT_MS = 20_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 4_000;
const PATIENT_TRIES = 5;
const LOOK_WHILE_HIDDEN_MS = 45_000;

/**
 * Replace the contents of an element by other contents, changing only what differs.
 * What the reader opened or is typing stays as it is.
 */
export function morph(element, html) {
  Idiomorph.morph(element, html, {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  });
}

/** Let the tab say how far it is, for who looks at another one meanwhile. */
function showTitle(element) {
  const title = element?.querySelector("[data-page-title]")?.dataset.pageTitle;
  if (title) document.title = title;
}

/** Return the page as it would be loaded now, or null while the server is away. */
async function pageAsItIsNow() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status >= 500) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return null;
  }
}

/** Bring up to date what stands around a view that has ended. */
async function renewAround() {
  const parts = document.querySelectorAll("[id][data-renewed-at-end]");
  // Without an answer they stay as they are; the view itself has all that matters.
  const page = parts.length ? await pageAsItIsNow() : null;
  for (const part of parts) {
    const renewed = page?.getElementById(part.id);
    if (renewed) morph(part, renewed.innerHTML);
  }
}

/** Follow `url` and show each view in `element`. Returns a function that ends it. */
export function follow(element, url, onView = () => {}) {
  const state = document.querySelector(`[data-live-state="${CSS.escape(element.id)}"]`);
  let source = null;
  let lastEventId = "";
  let lastSign = performance.now();
  let retryAfter = FIRST_RETRY_MS;
  let tries = 0;
  let retryTimer = 0;
  let hiddenTimer = 0;
  let ended = false;

  const say = (text) => {
    if (state && state.textContent !== text) state.textContent = text;
  };

  const alive = (event) => {
    lastSign = performance.now();
    retryAfter = FIRST_RETRY_MS;
    tries = 0;
    if (event?.lastEventId) lastEventId = event.lastEventId;
    say("");
  };

  const close = () => {
    clearTimeout(retryTimer);
    source?.close();
    source = null;
  };

  const lost = () => {
    close();
    if (ended) return;
    tries += 1;
    say(
      tries <= PATIENT_TRIES
        ? "Connection lost, trying again…"
        : "Still no connection. What you see may be old; reload the page to see whether Tailor runs.",
    );
    retryTimer = setTimeout(connect, retryAfter);
    retryAfter = Math.min(retryAfter * 2, LONGEST_RETRY_MS);
  };

  function connect() {
    close();
    if (ended) return;
    lastSign = performance.now();
    const address = new URL(url, location.href);
    if (lastEventId) address.searchParams.set("last_event_id", lastEventId);
    source = new EventSource(address);
    source.addEventListener("open", alive);
    source.addEventListener("ping", alive);
    source.addEventListener("view", (event) => {
      alive(event);
      morph(element, event.data);
      showTitle(element);
      onView(element);
    });
    source.addEventListener("reload", () => location.reload());
    source.addEventListener("end", (event) => {
      alive(event);
      stop();
      if (event.data?.startsWith("/")) location.assign(event.data);
      else renewAround();
    });
    source.addEventListener("error", async (event) => {
      await reloadIfRefused(event.target);
      if (event.target === source) lost();
    });
  }

  // A laptop that slept, a network that changed: the connection may be dead without saying so.
  // A page in the background lets its connection go: a browser grants one server only six. Now and
  // then it asks how far it is, for its title is all that is seen of it then.
  const renew = () => {
    clearTimeout(hiddenTimer);
    if (document.visibilityState === "visible") {
      connect();
    } else {
      close();
      if (element.querySelector("[data-page-title]")) lookLater();
    }
  };
  const lookLater = () => {
    clearTimeout(hiddenTimer);
    hiddenTimer = setTimeout(lookWhileHidden, LOOK_WHILE_HIDDEN_MS);
  };
  async function lookWhileHidden() {
    const page = await pageAsItIsNow();
    if (document.visibilityState === "visible") return;
    const view = page?.getElementById(element.id);
    showTitle(view);
    // A view that is over follows no events; a page without the view is gone for its reader.
    if (page === null || view?.hasAttribute("data-live")) lookLater();
  }
  const watch = setInterval(() => {
    if (source && performance.now() - lastSign > QUIET_LIMIT_MS) lost();
  }, 2_000);

  function stop() {
    ended = true;
    close();
    clearTimeout(hiddenTimer);
    clearInterval(watch);
    document.removeEventListener("visibilitychange", renew);
    removeEventListener("online", renew);
  }

  document.addEventListener("visibilitychange", renew);
  addEventListener("online", renew);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });
  connect();
  return stop;
}

for (const element of document.querySelectorAll("[data-live]")) {
  follow(element, element.dataset.live);
}
