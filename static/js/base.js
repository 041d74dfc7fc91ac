// Niceties of every page. Each page works without them.

document.addEventListener("click", async (event) => {
  const target = event.target;

  target.closest("[data-dismiss]")?.closest(".notice")?.remove();

  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    if (!menu.contains(target)) menu.open = false;
  }

  const copy = target.closest("[data-copy]");
  if (copy) await copyText(copy);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
  }
});

// A form is sent once: a second click while the first is on its way does nothing.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented) return;
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  if (isPost(form) && !form.hasAttribute("data-resubmit")) form.dataset.sent = "yes";
});

// Coming back with the browser's back button shows the form again, ready to be sent.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

document.addEventListener("change", (event) => {
  const drop = event.target.closest("[data-file-drop]");
  if (drop) nameFiles(drop, event.target);
});

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.target.closest?.("[data-file-drop]")?.classList.add("file-drop--over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.target.closest?.("[data-file-drop]")?.classList.remove("file-drop--over");
  });
}

// Not form.method: a field of that name, as the training's form has one, would stand in its place.
function isPost(form) {
  return form.getAttribute("method")?.toLowerCase() === "post";
}

function nameFiles(drop, input) {
  const names = drop.querySelector("[data-file-names]");
  if (names) names.textContent = Array.from(input.files ?? [], (file) => file.name).join(", ");
}

async function copyText(button) {
  const box = button.parentElement.querySelector("[data-copy-text]");
  const word = button.querySelector("[data-copy-word]");
  try {
    await navigator.clipboard.writeText(box.textContent);
    word.textContent = "Copied";
  } catch {
    // Without a secure context there is no clipboard: select the text, so that Ctrl-C takes it.
    getSelection().selectAllChildren(box);
    word.textContent = "Press Ctrl-C";
  }
  setTimeout(() => {
    word.textContent = "Copy";
  }, 2500);
}

export { copyText };
