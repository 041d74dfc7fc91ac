// Sends a file as soon as it is chosen or dropped, shows how far it is, and can stop.
// Without this script the form works by itself.

import { setProgress } from "./progress.js";

const MEGABYTE = 1_000_000;

function megabytes(bytes) {
  const amount = bytes / MEGABYTE;
  return `${amount < 10 ? amount.toFixed(1) : Math.round(amount).toLocaleString("en")} MB`;
}

function prepare(form) {
  const input = form.querySelector('input[type="file"]');
  const panel = form.querySelector("[data-upload-progress]");
  const bar = panel.querySelector(".progress");
  const problem = form.querySelector("[data-upload-problem]");
  const status = form.querySelector("[data-upload-status]");
  const others = [form.querySelector("[data-file-drop]"), form.querySelector(".form__actions")];
  let request = null;

  const say = (what, why = "", next = "") => {
    problem.querySelector("[data-upload-what]").textContent = what;
    problem.querySelector("[data-upload-why]").textContent = why;
    problem.querySelector("[data-upload-next]").textContent = next;
    problem.hidden = false;
  };

  const rest = () => {
    request = null;
    panel.hidden = true;
    for (const element of others) element.hidden = false;
    input.value = "";
    form.querySelector("[data-file-names]").textContent = "";
    delete form.dataset.sent;
    input.focus();
  };

  const fail = (error) => {
    rest();
    say(error.what, error.why, error.next_step);
  };

  const arrived = () => {
    const answer = parsed(request.responseText);
    if (request.status === 200 && answer.url) {
      status.textContent = "The file has arrived.";
      location.assign(answer.url);
      return;
    }
    fail(
      answer.error ?? {
        what: "The file could not be taken in.",
        why: "Tailor answered in an unexpected way.",
        next_step: "Reload the page and try again.",
      },
    );
  };

  const send = (file) => {
    problem.hidden = true;
    if (file.size > Number(form.dataset.maxBytes)) {
      fail({
        what: `This file has ${megabytes(file.size)}.`,
        why: `One upload may have at most ${megabytes(Number(form.dataset.maxBytes))}.`,
        next_step: "Split it into several files and upload them one after the other.",
      });
      return;
    }
    for (const element of others) element.hidden = true;
    panel.hidden = false;
    setProgress(bar, 0, { text: "0 %" });
    status.textContent = `Sending ${file.name}`;
    request = new XMLHttpRequest();
    request.open("POST", form.getAttribute("action"));
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-CSRF-Token", form.elements.csrf_token.value);
    request.setRequestHeader("X-File-Name", encodeURIComponent(file.name.slice(0, 300).toWellFormed?.() ?? file.name));
    request.upload.addEventListener("progress", (event) => {
      const share = event.total ? event.loaded / event.total : 0;
      setProgress(bar, share, { text: `${megabytes(event.loaded)} of ${megabytes(event.total)}` });
    });
    request.addEventListener("load", arrived);
    request.addEventListener("error", () =>
      fail({
        what: "The file did not arrive.",
        why: "The connection to Tailor broke while it was being sent.",
        next_step: "Check that Tailor is running, then upload the file again.",
      }),
    );
    request.addEventListener("abort", () => {
      rest();
      status.textContent = "Stopped. Nothing was kept of the file.";
    });
    request.send(file);
  };

  input.addEventListener("change", () => {
    if (input.files.length) send(input.files[0]);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.files.length && !request) send(input.files[0]);
  });
  form.querySelector("[data-upload-cancel]").addEventListener("click", () => request?.abort());
  // Coming back with the browser's back button shows the form again, ready for another file.
  addEventListener("pageshow", (event) => {
    if (event.persisted && request) rest();
  });
  addEventListener("beforeunload", (event) => {
    if (request && request.readyState < XMLHttpRequest.DONE) event.preventDefault();
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

for (const form of document.querySelectorAll("form[data-upload]")) prepare(form);
