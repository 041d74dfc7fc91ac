// Renews the waiting page of an upload, and goes on to the next page when there is one.
// Without this script the page renews itself as a whole.

import { morph } from "./live.js";

const EVERY_MS = 1_000;

async function renew(element) {
  try {
    const response = await fetch(element.dataset.import, { headers: { Accept: "text/html" } });
    if (response.ok) {
      const status = response.headers.get("X-Import-Status");
      const isOver = ["awaiting_mapping", "imported", "failed"].includes(status);
      if (isOver) {
        location.reload();
        return;
      }
      morph(element, await response.text());
    } else if (response.status === 404 || response.status === 401) {
      location.reload();
      return;
    }
  } catch {
    // Tailor may be starting again; the next try will tell.
  }
  setTimeout(renew, EVERY_MS, element);
}

for (const element of document.querySelectorAll("[data-import]")) setTimeout(renew, EVERY_MS, element);
