// Asking and reading answers without leaving the page. Everything here works without it too.
//
// What a model wrote is only ever set as text. The markup of a turn comes from the server, which
// escapes everything.

import { morph } from "./live.js";

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 4_000;
const WAITING_WORDS = {
  waiting: "Waiting for the model…",
  loading: "The model is being loaded…",
  writing: "Writing…",
};

const chat = document.querySelector("[data-chat]");
const talk = chat?.querySelector("[data-talk]");
const form = chat?.querySelector("[data-chat-form]");
const field = form?.querySelector("textarea[name=question]");
const statusLine = chat?.querySelector("[data-chat-status]");
const token = document.querySelector("meta[name=csrf-token]")?.content ?? "";
const following = new Set();

async function post(url, body) {
  return fetch(url, {
    method: "POST",
    body,
    headers: { Accept: "application/json", "X-CSRF-Token": token },
  });
}

function say(text) {
  if (statusLine) statusLine.textContent = text;
}

function showProblem(error) {
  const place = form?.querySelector("[data-chat-problem]");
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

function isChatForm(element) {
  return /\/chat(\/[^/]+\/(turns(\/[^/]+\/again)?|stop))?$/.test(new URL(element.action).pathname);
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
    try {
      await send(sent);
    } catch {
      showProblem({ what: "Tailor does not answer.", next_step: "Check the connection and try again. What you typed is still here." });
    } finally {
      delete chat.dataset.busy;
    }
  },
  true,
);

async function send(sent) {
  showProblem(null);
  const response = await post(sent.action, new URLSearchParams(new FormData(sent)));
  if (!response.ok) {
    showProblem(await problemOf(response));
    return;
  }
  if (response.status === 204) return;
  const asked = await response.json();
  if (!talk) {
    location.assign(asked.url);
    return;
  }
  if (sent === form) {
    field.value = "";
    fitField();
  }
  await showTurn(asked.turn_url, asked.turn_id);
  field?.focus({ preventScroll: true });
}

async function showTurn(url, turnId) {
  let article = document.getElementById(`turn-${turnId}`);
  if (!article) {
    // The turn before is no longer the last one: its "Ask again" goes.
    talk.querySelector("article:last-of-type form[action$='/again']")?.parentElement.remove();
    article = document.createElement("article");
    article.className = "turn";
    article.id = `turn-${turnId}`;
    article.dataset.turn = url;
    talk.append(article);
  }
  await refresh(article);
  article.scrollIntoView({ block: "nearest" });
  followTurn(article);
}

async function refresh(article) {
  const response = await fetch(article.dataset.turn, { headers: { Accept: "text/html" } });
  if (response.ok) morph(article, await response.text());
}

// ---- reading ----

function followTurn(article) {
  const live = article.querySelector("[data-turn-state]")?.dataset.writing.trim() ?? "";
  if (!live || following.has(article.id)) return;
  following.add(article.id);
  say("The answers are being written.");
  const sides = live.split(" ").map((entry) => entry.split(":"));
  Promise.all(sides.map(([side, begin]) => followSide(article, side, Number(begin)))).then(
    async () => {
      const follows = isInSight(article);
      await refresh(article);
      if (follows) article.scrollIntoView({ block: "nearest" });
      following.delete(article.id);
      if (article.querySelector("[data-turn-state]")?.dataset.writing.trim()) {
        // The row was not there yet when the page asked; ask again in a moment.
        setTimeout(() => followTurn(article), FIRST_RETRY_MS);
        return;
      }
      sayAnswers(article);
    },
  );
}

function followSide(article, side, begin) {
  const box = document.getElementById(`answer-${article.id.replace("turn-", "")}-${side}`);
  const text = box.querySelector("[data-answer-text]");
  let position = begin;
  let retryAfter = FIRST_RETRY_MS;
  return new Promise((resolve) => {
    const connect = () => {
      const source = new EventSource(`${article.dataset.turn}/stream?side=${side}&begin=${position}`);
      source.addEventListener("open", () => {
        retryAfter = FIRST_RETRY_MS;
      });
      source.addEventListener("state", (event) => showState(box, JSON.parse(event.data).state));
      source.addEventListener("text", (event) => {
        box.querySelector("[data-answer-waiting]")?.remove();
        const follows = isInSight(article);
        text.append(JSON.parse(event.data).text);
        position = Number(event.lastEventId);
        if (follows) article.scrollIntoView({ block: "nearest" });
      });
      source.addEventListener("end", () => {
        source.close();
        resolve();
      });
      source.addEventListener("error", () => {
        // A new connection says itself where to go on, so nothing comes twice.
        source.close();
        setTimeout(connect, retryAfter);
        retryAfter = Math.min(retryAfter * 2, LONGEST_RETRY_MS);
      });
    };
    connect();
  });
}

function showState(box, state) {
  const line = box.querySelector("[data-answer-waiting]");
  if (line) line.textContent = WAITING_WORDS[state] ?? "";
}

// Whether the end of a turn can be seen, so that the page should move along with what comes. A
// turn's margin for scrolling (chat.css) keeps its end above the field to ask in.
function isInSight(article) {
  return article.getBoundingClientRect().bottom < innerHeight + 40;
}

function sayAnswers(article) {
  const answers = [...article.querySelectorAll(".answer")].map((box) => {
    const name = box.querySelector(".answer__name").textContent;
    return `${name}: ${box.querySelector("[data-answer-text]").textContent}`;
  });
  say(answers.join(". "));
}

// ---- typing ----

function fitField() {
  field.rows = Math.min(10, Math.max(1, field.value.split("\n").length));
}

field?.addEventListener("input", fitField);
field?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (field.value.trim()) form.requestSubmit();
});

for (const article of document.querySelectorAll("[data-turn]")) followTurn(article);
