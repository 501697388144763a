// Applies the chosen theme before the first paint; the switch itself is in script.js.
"use strict";

(() => {
  const chosen = localStorage.getItem("gameball-sandbox-theme");
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
