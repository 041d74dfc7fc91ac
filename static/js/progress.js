// Move a seam that the macro stitch_progress drew.

const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });

/**
 * Show how far something is.
 *
 * @param {Element} progress the element with the class "progress"
 * @param {number} share from 0 to 1
 * @param {{text?: string, sentence?: string}} words what stands beside and under the seam
 */
export function setProgress(progress, share, { text, sentence } = {}) {
  const whole = Math.min(Math.max(share, 0), 1);
  const width = `${(whole * 100).toFixed(2)}%`;
  progress.querySelector(".stitches__done")?.setAttribute("width", width);
  progress.querySelector(".stitches__needle")?.setAttribute("x", width);
  const bar = progress.querySelector("[role=progressbar]");
  bar.setAttribute("aria-valuenow", String(Math.floor(whole * 100)));
  bar.setAttribute("aria-valuetext", text ?? PERCENT.format(whole));
  write(progress, ".progress__value", text);
  write(progress, ".progress__sentence", sentence);
}

function write(progress, selector, text) {
  const element = progress.querySelector(selector);
  if (element && text !== undefined) element.textContent = text;
}
