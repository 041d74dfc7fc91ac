// Asking and reading answers without leaving the page. Everything here works without it too.
//
// What a model wrote is only ever set as text. The markup of a turn comes from the server, which
// escapes everything.

import { reloadIfGone, reloadIfRefused } from "./gone.js";
import { morph } from "./live.js";

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 4_000;
const QUIET_LIMIT_MS = 20_000;

const chat = document.querySelector("[data-chat]");
const talk = chat?.querySelector("[data-talk]");
const form = chat?.querySelector("[data-chat-form]");
const field = form?.querySelector("textarea[name=question]");
const statusLine = chat?.querySelector("[data-chat-status]");
const connectionLine = chat?.querySelector("[data-chat-connection]");
const waitingWords = JSON.parse(chat?.dataset.waitingWords ?? "{}");
const token = document.querySelector("meta[name=csrf-token]")?.content ?? "";
const draftKeyOf = (url) => `draft:${new URL(url, location.href).pathname}`;
let draftKey = draftKeyOf(location.href);
const following = new Set();

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function post(url, body) {
  return fetch(url, {
    method: "POST",
    body,
    headers: { Accept: "application/json", "X-CSRF-Token": token },
  });
}

function say(text, line = statusLine) {
  if (line && line.textContent !== text) line.textContent = text;
}

function showProblem(error) {
  const place = chat.querySelector("[data-chat-problem]");
  if (!place) return;
  place.replaceChildren();
  if (!error) return;
  const line = document.createElement("p");
  line.className = "field__error";
  line.textContent = [error.what, error.why, error.next_step].filter(Boolean).join(" ");
  place.append(line);
}

async function problemOf(response) {
  try {
    return (await response.json()).error;
  } catch {
    return { what: "The question did not arrive.", next_step: "Try again in a moment." };
  }
}

// ---- sending ----

// Not form.action: a field or button of that name would stand in its place.
function addressOf(form) {
  return new URL(form.getAttribute("action"), location.href);
}

function isChatForm(element) {
  return /\/chat(\/[^/]+\/(turns(\/[^/]+\/again)?|stop))?$/.test(addressOf(element).pathname);
}

// In the capture phase, so that base.js does not count the form as sent for good.
chat?.addEventListener(
  "submit",
  async (event) => {
    const sent = event.target;
    if (!isChatForm(sent)) return;
    event.preventDefault();
    if (chat.dataset.busy) return;
    chat.dataset.busy = "yes";
    let isLeaving = false;
    try {
      isLeaving = await send(sent, event.submitter);
    } catch {
      showProblem({ what: "Tailor does not answer.", next_step: "Check the connection and try again. What you typed is still here." });
    } finally {
      if (!isLeaving) delete chat.dataset.busy;
    }
  },
  true,
);

// Coming back with the browser's back button shows the page as it was left: ready to ask again.
addEventListener("pageshow", () => {
  if (chat) delete chat.dataset.busy;
  draftKey = draftKeyOf(location.href);
});

/** Send a form; return whether the browser goes on to another page. */
async function send(sent, submitter) {
  const question = submitter?.name ? submitter.value : field?.value;
  showProblem(null);
  const body = new URLSearchParams(new FormData(sent));
  if (submitter?.name) body.append(submitter.name, submitter.value);
  const response = await post(addressOf(sent), body);
  if (!response.ok) {
    showProblem(await problemOf(response));
    return false;
  }
  field?.focus({ preventScroll: true });
  if (response.status === 204) return false;
  const asked = await response.json();
  // What was typed meanwhile stays, and so does what stood half typed beside a suggestion.
  if (sent === form && field.value === question) forgetDraft();
  if (!talk) {
    takeDraftTo(asked.url);
    location.assign(asked.url);
    return true;
  }
  showTurn(asked.turn_url, asked.turn_id);
  return false;
}

function showTurn(url, turnId) {
  let article = document.getElementById(`turn-${turnId}`);
  if (!article) {
    // The turn before is no longer the last one: its "Ask again" goes.
    talk.querySelector("article:last-of-type form[action$='/again']")?.remove();
    article = document.createElement("article");
    article.className = "turn";
    article.id = `turn-${turnId}`;
    article.dataset.turn = url;
    talk.append(article);
  }
  article.scrollIntoView({ block: "nearest" });
  followTurn(article, { isFresh: false });
}

// ---- reading ----

async function refresh(article) {
  const follows = isInSight(article);
  const response = await fetch(article.dataset.turn, { headers: { Accept: "text/html" } });
  if (reloadIfGone(response) || !response.ok) throw new Error(String(response.status));
  morph(article, await response.text());
  if (follows) article.scrollIntoView({ block: "nearest" });
}

/** What is being written in a turn: [side, characters that are here]. */
function written(article) {
  const live = article.querySelector("[data-turn-state]")?.dataset.writing.trim();
  return live ? live.split(" ").map((entry) => entry.split(":")) : [];
}

/** Show a turn's answers as they come, over lost connections and restarts, until they are whole. */
async function followTurn(article, { isFresh }) {
  if (following.has(article.id)) return;
  following.add(article.id);
  let retryAfter = FIRST_RETRY_MS;
  for (let isWhole = false; !isWhole; ) {
    try {
      if (!isFresh) await refresh(article);
      isFresh = false;
      say("", connectionLine);
      isWhole = written(article).length === 0;
      if (isWhole) break;
      await readAnswers(article);
      // The rows may not be there yet when the page asks at once; then it asks again in a moment.
      await refresh(article);
      isFresh = true;
      retryAfter = FIRST_RETRY_MS;
      isWhole = written(article).length === 0;
      if (!isWhole) await pause(FIRST_RETRY_MS);
    } catch {
      say("The connection is lost. Trying again; the answers are written meanwhile.", connectionLine);
      await pause(retryAfter);
      retryAfter = Math.min(retryAfter * 2, LONGEST_RETRY_MS);
    }
  }
  following.delete(article.id);
  sayAnswers(article);
}

/** Read a turn's answers to their end. Throws if the connection is lost before. */
function readAnswers(article) {
  say("The answers are being written.");
  const query = new URLSearchParams(written(article));
  const source = new EventSource(`${article.dataset.turn}/stream?${query}`);
  let lastSign = performance.now();
  return new Promise((resolve, reject) => {
    const end = (settle) => {
      clearInterval(watch);
      source.close();
      settle();
    };
    // After a sleep the connection may be dead without saying so.
    const watch = setInterval(() => {
      if (performance.now() - lastSign > QUIET_LIMIT_MS) end(reject);
    }, 2_000);
    const on = (name, act) =>
      source.addEventListener(name, (event) => {
        lastSign = performance.now();
        act(JSON.parse(event.data));
      });
    on("ping", () => {});
    on("state", ({ side, state }) => showState(boxOf(article, side), state));
    on("text", ({ side, ...news }) => addText(article, boxOf(article, side), news));
    on("end", () => end(resolve));
    source.addEventListener("error", async () => {
      await reloadIfRefused(source);
      end(reject);
    });
  });
}

function boxOf(article, side) {
  return document.getElementById(`answer-${article.id.replace("turn-", "")}-${side}`);
}

function showState(box, state) {
  const line = box.querySelector("[data-answer-waiting]");
  if (line) line.textContent = waitingWords[state] ?? "";
  if (state !== "writing") say(`${nameOf(box)}: ${waitingWords[state] ?? ""}`);
}

function addText(article, box, { text, begins_anew: beginsAnew }) {
  box.querySelector("[data-answer-waiting]")?.remove();
  const follows = isInSight(article);
  const answer = box.querySelector("[data-answer-text]");
  if (beginsAnew) answer.replaceChildren();
  answer.append(text);
  if (follows) article.scrollIntoView({ block: "nearest" });
}

// Whether the end of a turn can be seen, so that the page should move along with what comes. A
// turn's margin for scrolling (chat.css) keeps its end above the field to ask in.
function isInSight(article) {
  return article.getBoundingClientRect().bottom < innerHeight + 40;
}

function nameOf(box) {
  return box.querySelector(".answer__name").textContent;
}

function sayAnswers(article) {
  const answers = [...article.querySelectorAll(".answer")].map((box) => {
    const problem = box.querySelector(".field__error")?.textContent.trim() ?? "";
    return `${nameOf(box)}: ${box.querySelector("[data-answer-text]").textContent} ${problem}`;
  });
  say(answers.join(". "));
}

// ---- typing ----

function fitField() {
  field.rows = Math.min(10, Math.max(1, field.value.split("\n").length));
}

// What is typed outlives everything that loads the page anew: saved settings, a lost sign-in.
function keepDraft() {
  sessionStorage.setItem(draftKey, field.value);
}

// A first question leads to its conversation, and what is half typed by then goes along.
function takeDraftTo(url) {
  sessionStorage.removeItem(draftKey);
  draftKey = draftKeyOf(url);
  if (field.value) keepDraft();
}

function forgetDraft() {
  field.value = "";
  sessionStorage.removeItem(draftKey);
  fitField();
}

if (field) {
  field.value ||= sessionStorage.getItem(draftKey) ?? "";
  fitField();
  field.addEventListener("input", () => {
    fitField();
    keepDraft();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (field.value.trim()) form.requestSubmit();
  });
}

for (const article of document.querySelectorAll("[data-turn]")) {
  if (written(article).length) followTurn(article, { isFresh: true });
}
