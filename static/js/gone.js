// A page that is not its reader's any more: they were signed out, or it was deleted elsewhere.

/** Load the page anew if an answer shows that it is gone; it then says itself what happened. */
export function reloadIfGone(response) {
  const isGone = response.redirected || response.status === 401 || response.status === 404;
  if (isGone) location.reload();
  return isGone;
}

/** The same after an event stream broke, which does not say why. */
export async function reloadIfRefused(source) {
  // Only an answer that is no stream closes it for good; a lost connection would be tried again.
  if (source.readyState !== EventSource.CLOSED) return;
  const leaving = new AbortController();
  try {
    const headers = { Accept: "text/event-stream" };
    reloadIfGone(await fetch(source.url, { headers, signal: leaving.signal }));
  } catch {
    // Nobody answers, so nobody says that it is gone.
  } finally {
    leaving.abort();
  }
}
