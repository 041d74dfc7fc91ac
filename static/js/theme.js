// Runs before the first paint (a plain script, not a module): the chosen theme, and a mark that
// scripts run. Without a choice the system's theme holds, by CSS alone.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const read = () => {
    try {
      return localStorage.getItem("tailor-theme");
    } catch {
      return null; // storage may be forbidden; the system's theme holds then
    }
  };
  const write = (theme) => {
    try {
      if (theme) localStorage.setItem("tailor-theme", theme);
      else localStorage.removeItem("tailor-theme");
    } catch {
      // the choice lasts for this page only
    }
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const systemTheme = () => (system.matches ? "dark" : "light");
  const chosen = read();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-toggle]")) return;
    const next = (root.dataset.theme ?? systemTheme()) === "dark" ? "light" : "dark";
    if (next === systemTheme()) {
      delete root.dataset.theme;
      write(null);
    } else {
      root.dataset.theme = next;
      write(next);
    }
  });
})();
