// A view that asks again while something in it is under way.
//
// <div id="shelf" data-poll="/base-models/cards">… <div data-poll-again> …</div>
// <p role="status" data-live-state="shelf"></p>
//
// As long as the view holds an element with data-poll-again, its contents are fetched once a second
// and morphed in place. A page in the background waits until it is looked at again.

import { reloadIfGone } from "./gone.js";
import { morph } from "./live.js";

const EVERY_MS = 1_000;
const LONGEST_RETRY_MS = 10_000;

function keepFresh(element) {
  const state = document.querySelector(`[data-live-state="${CSS.escape(element.id)}"]`);
  let wait = EVERY_MS;

  const say = (text) => {
    if (state && state.textContent !== text) state.textContent = text;
  };

  const next = () => {
    if (element.querySelector("[data-poll-again]")) setTimeout(look, wait);
  };

  async function look() {
    if (document.visibilityState !== "visible") {
      document.addEventListener("visibilitychange", look, { once: true });
      return;
    }
    try {
      const response = await fetch(element.dataset.poll, { headers: { Accept: "text/html" } });
      if (reloadIfGone(response)) return;
      if (!response.ok) throw new Error(String(response.status));
      morph(element, await response.text());
      wait = EVERY_MS;
      say("");
    } catch {
      wait = Math.min(wait * 2, LONGEST_RETRY_MS);
      say("The connection is lost. Trying again; what you see may be old.");
    }
    next();
  }

  next();
}

for (const element of document.querySelectorAll("[data-poll]")) keepFresh(element);
