"use strict";
(() => {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const chosen = { group: "", outcome: "" };
  const cards = [...document.querySelectorAll(".card")];
  const apply = () => {
    let shown = 0;
    for (const card of cards) {
      const own = card.closest("[data-group]").dataset.group;
      const fits = chosen.outcome === "changed" ? card.dataset.changed === "1" : !chosen.outcome || card.dataset.outcome === chosen.outcome;
      card.hidden = !(fits && (!chosen.group || own === chosen.group));
      shown += card.hidden ? 0 : 1;
    }
    for (const group of document.querySelectorAll("[data-group]")) group.hidden = !group.querySelector(".card:not([hidden])");
    const none = document.querySelector(".none");
    if (none) none.hidden = shown > 0;
  };
  for (const bar of document.querySelectorAll("[data-filter]")) {
    bar.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      chosen[bar.dataset.filter] = button.dataset.value;
      for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      apply();
    });
  }

  for (const sound of document.querySelectorAll(".sound")) {
    const audio = sound.querySelector("audio"), head = sound.querySelector(".head"), spec = sound.querySelector(".spec");
    const follow = () => {
      head.style.left = `${(100 * audio.currentTime) / (audio.duration || Number(sound.dataset.seconds))}%`;
      if (!audio.paused) requestAnimationFrame(follow);
    };
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      head.style.opacity = "1";
      follow();
    });
    spec.addEventListener("click", (event) => {
      const box = spec.getBoundingClientRect(), start = ((event.clientX - box.left) / box.width) * Number(sound.dataset.seconds);
      audio.currentTime = start;
      audio.play();
    });
  }
})();
