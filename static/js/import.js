// Renews the waiting page of an upload, and goes on to the next page when there is one.
// Without this script the page renews itself as a whole.

import { reloadIfGone } from "./gone.js";
import { morph } from "./live.js";

const EVERY_MS = 1_000;
const OVER = ["awaiting_mapping", "imported", "failed"];

async function renew(element) {
  try {
    const response = await fetch(element.dataset.import, { headers: { Accept: "text/html" } });
    if (reloadIfGone(response)) return;
    if (response.ok) {
      if (OVER.includes(response.headers.get("X-Import-Status"))) {
        location.reload();
        return;
      }
      morph(element, await response.text());
    }
  } catch {
    // Tailor may be starting again; the next try will tell.
  }
  setTimeout(renew, EVERY_MS, element);
}

for (const element of document.querySelectorAll("[data-import]")) setTimeout(renew, EVERY_MS, element);
