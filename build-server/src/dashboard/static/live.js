// Makes the pages alive; each of them is complete without this.
"use strict";

(() => {
  const state = document.getElementById("state");
  const say = (text) => { if (state) state.textContent = text; };

  // Something happened: asks for the same page and exchanges the parts that may have changed.
  let asked = false;
  let again = false;
  async function refresh() {
    if (asked) { again = true; return; }
    asked = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      say("The farm does not answer; this page is as it was.");
    }
    // At most one page a second, however much happens.
    setTimeout(() => {
      asked = false;
      if (again) { again = false; refresh(); }
    }, 1000);
  }

  function exchange(page) {
    document.title = page.title;
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.outerHTML === old.outerHTML) continue;
      const focus = place(old);
      old.replaceWith(fresh);
      if (focus !== null) focusable(fresh)[focus]?.focus({ preventScroll: true });
    }
    show(document.getElementById("log"), page.getElementById("log"));
    say(page.getElementById("state")?.textContent ?? "");
  }

  // The first log of a build, or that of its next unit once the one shown is over; not when a
  // certain one was asked for.
  function show(log, fresh) {
    if (!fresh) return;
    if (!log) {
      document.getElementById("main").append(fresh);
      follow();
      return;
    }
    const over = log.querySelector("[data-following=over]");
    const next = fresh.querySelector("[data-follow]");
    if (!over || !next || new URLSearchParams(location.search).has("run")) return;
    if (next.dataset.follow.split("&")[0] === over.dataset.follow.split("&")[0]) return;
    log.replaceWith(fresh);
    follow();
  }

  const focusable = (element) => [...element.querySelectorAll("a, button, input, summary, [tabindex]")];

  // Which of its focusable elements has the focus, so that it stays there.
  function place(element) {
    const at = focusable(element).indexOf(document.activeElement);
    return at < 0 ? null : at;
  }

  function listen() {
    const address = document.body.dataset.events;
    if (!address) return;
    const events = new EventSource(address);
    events.onmessage = refresh;
    events.onopen = () => { if (events.wasLost) { events.wasLost = false; refresh(); } };
    events.onerror = () => { events.wasLost = true; };
    addEventListener("pagehide", () => events.close());
  }

  // The log of what runs: rendered lines, each ending with a newline, for as long as it runs.
  const MOST_LINES = 3000;
  async function follow() {
    const lines = document.querySelector("[data-follow]");
    if (!lines || lines.dataset.following) return;
    lines.dataset.following = "yes";
    const tail = document.getElementById("tail");
    try {
      const answer = await fetch(lines.dataset.follow);
      if (!answer.ok) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        rest += value ?? "";
        const end = rest.lastIndexOf("\n") + 1;
        if (end > 0) append(lines, rest.slice(0, end), tail);
        rest = rest.slice(end);
        if (done) break;
      }
    } catch {
      say("The log was cut off; reload the page to go on.");
      return;
    }
    lines.dataset.following = "over";
    refresh();
  }

  function append(lines, html, tail) {
    const last = lines.lastElementChild;
    // The server has escaped every byte of the log.
    lines.insertAdjacentHTML("beforeend", html);
    const first = last?.nextElementSibling;
    // A line that was incomplete when the page was drawn comes once more.
    if (last && first && last.id && last.id === first.id) last.remove();
    while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
    if (tail?.checked) document.getElementById("end")?.scrollIntoView({ block: "end" });
  }

  // j and k go from row to row, / finds.
  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === "/") {
      const find = document.querySelector("input[type=search]");
      if (find) { find.focus(); event.preventDefault(); }
      return;
    }
    if (event.key !== "j" && event.key !== "k") return;
    const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.querySelector("a"));
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement?.closest("[data-row]"));
    const next = event.key === "j" ? Math.min(at + 1, rows.length - 1) : Math.max(at - 1, 0);
    rows[next].querySelector("a").focus();
    event.preventDefault();
  }

  addEventListener("keydown", keys);
  listen();
  follow();
})();
