// Memory Hub: what htmx does not do. No framework; every page works without it.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- theme: kept in a cookie, so that the server draws the right one at once
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const switchTheme = () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
  };

  // --- relative times, as blocks/times.py says them
  const since = (iso) => {
    const seconds = Math.floor((Date.now() - Date.parse(iso)) / 1000);
    if (seconds < -60) {
      for (const [below, unit, name] of [[3600, 60, "min"], [86400, 3600, "h"], [34560000, 86400, "d"]])
        if (-seconds < below) return `in ${Math.round(-seconds / unit)} ${name}`;
      return "";
    }
    if (seconds < 5) return "just now";
    for (const [below, unit, name] of [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [604800, 86400, "d"]])
      if (seconds < below) return `${Math.floor(seconds / unit)} ${name} ago`;
    return "";
  };
  const tellTimes = () => all("time[data-ago]").forEach((time) => {
    const text = since(time.dateTime);
    if (text && text !== time.textContent) time.textContent = text;
  });
  setInterval(tellTimes, 10000);

  // --- characters against the limit, counted as the server counts them (code points)
  const length = (text) => { let n = 0; for (const _ of text) n += 1; return n; };
  const tellBudget = () => all("[data-budget]").forEach((budget) => {
    const text = document.getElementById(budget.dataset.budget), limit = document.getElementById(budget.dataset.limit);
    if (!text || !limit) return;
    const used = length(text.value), most = Number(limit.value) || 0;
    budget.textContent = `${used.toLocaleString("en")} / ${most.toLocaleString("en")} characters` + (most && used > most ? `, ${(used - most).toLocaleString("en")} too many` : "");
    budget.classList.toggle("over", most > 0 && used > most);
  });

  // --- unsaved changes
  const values = (form) => JSON.stringify([...new FormData(form)].filter(([name]) => name !== "csrfmiddlewaretoken"));
  const clean = new WeakMap();
  const watch = () => all("form[data-guard]").forEach((form) => { if (!clean.has(form)) clean.set(form, "dirty" in form.dataset ? "" : values(form)); });
  let leaving = false;
  const unsaved = () => !leaving && all("form[data-guard]").some((form) => clean.has(form) && clean.get(form) !== values(form));
  addEventListener("beforeunload", (event) => { if (unsaved()) event.preventDefault(); });
  document.addEventListener("submit", (event) => { if (event.target.matches("form[data-guard]") && !event.target.hasAttribute("hx-post") && event.submitter?.formTarget !== "_blank") leaving = true; });

  // --- the list: which row is chosen
  const rows = () => all("[data-row]");
  const at = () => $("[data-row].at");
  const choose = (row) => {
    if (!row) return;
    at()?.classList.remove("at");
    row.classList.add("at");
    const link = all("a.title", row).find((a) => a.offsetParent);
    link?.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  };
  const move = (by) => {
    const list = rows(), index = list.indexOf(at());
    choose(list[Math.min(list.length - 1, Math.max(0, index < 0 ? 0 : index + by))]);
  };

  // --- keys
  const keys = {
    "/": () => { const search = $("#q"); search?.focus(); search?.select(); return search; },
    j: () => { move(1); return rows().length; },
    k: () => { move(-1); return rows().length; },
    e: () => {
      const text = $("#id_text"), row = at();
      if (text) text.focus(); else if (row) location.href = $("a.title", row).href + "#id_text";
      return text || row;
    },
    s: () => { const button = $("[data-sync]"); button?.click(); return button; },
    "?": () => { const help = $("#help"); help?.showModal(); return help; },
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.target.closest?.("form[data-guard]")?.requestSubmit(); return; }
    if (event.key === "Escape") { const menu = event.target.closest?.("details.menu[open]"); if (menu) { menu.open = false; $("summary", menu).focus(); } }
    const typing = event.target.matches?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    if (event.key === "Enter" && event.target === document.body && at()) { location.href = $("a.title", at()).href; return; }
    if (Object.hasOwn(keys, event.key) && keys[event.key]()) event.preventDefault();
  });

  // --- clicks
  document.addEventListener("click", (event) => {
    const found = (selector) => event.target.closest?.(selector);
    if (found("[data-theme-switch]")) switchTheme();
    if (found("[data-help]")) $("#help")?.showModal();
    if (found("[data-discard]") && unsaved()) { if (confirm("Throw away what you changed?")) leaving = true; else event.preventDefault(); }
    const copy = found("[data-copy]");
    if (copy) navigator.clipboard?.writeText(copy.dataset.copy).then(() => { copy.classList.add("done"); setTimeout(() => copy.classList.remove("done"), 1500); });
    all("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });
  document.addEventListener("input", (event) => { if (event.target.closest("form")) tellBudget(); });
  document.addEventListener("change", (event) => {
    if (event.target.name === "column") document.cookie = `column=${event.target.value}; path=/; max-age=31536000; samesite=lax`;
  });

  // --- htmx: say what went wrong, and put the focus where the change happened
  const trouble = (text) => { const box = $("#trouble"); if (box) { box.textContent = text; box.hidden = !text; if (text) box.scrollIntoView({ block: "nearest" }); } };
  const settled = (root) => {
    tellTimes(); tellBudget(); watch();
    if (document.activeElement === document.body) $("[data-focus]", root)?.focus({ preventScroll: true });
  };
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) trouble(""); });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    trouble(status === 403 ? "This was refused: you may not do it, or your session changed. Nothing was saved; copy your text and load the page again."
      : status === 404 ? "This is no longer there. Nothing was saved; copy your text and look at the list."
      : `The hub answered with an error (${status}). What you typed is still here; try again.`);
  });
  document.addEventListener("htmx:sendError", () => trouble("The hub could not be reached. What you typed is still here; try again."));
  document.addEventListener("htmx:timeout", () => trouble("The hub took too long to answer. What you typed is still here; try again."));
  document.addEventListener("htmx:beforeSwap", (event) => {
    // A session that ended answers with the sign-in page: show it as a page, unless text would be lost.
    if (new URL(event.detail.xhr.responseURL || location.href).pathname.includes("/login")) {
      event.detail.shouldSwap = false;
      if (unsaved()) trouble("You are signed out. Copy your text, sign in again in another tab, then save."); else location.reload();
    }
  });
  document.addEventListener("htmx:historyRestore", () => settled(document));
  document.addEventListener("htmx:afterSettle", (event) => settled(event.detail.elt));

  // --- live updates: the page draws itself anew when something changes in the project
  const QUIET = 10000, HIDDEN = 30000;
  const isLive = (event) => (event.detail.requestConfig?.elt ?? event.detail.elt)?.id === "live-refresh";
  let source, pulse, place, hiding;
  const refresh = () => { const live = $("#live-refresh"); if (live) htmx.trigger(live, "poll"); };
  const listen = () => { // the connection anew, from what was heard last
    const old = $("#live");
    if (!old) return;
    const fresh = old.cloneNode(true);
    if (pulse) fresh.setAttribute("sse-connect", fresh.getAttribute("sse-connect").replace(/since=.*$/, `since=${pulse}`));
    old.replaceWith(fresh);
    htmx.process(fresh);
  };
  htmx.createEventSource = (url) => (source = new EventSource(url, { withCredentials: true }));
  document.addEventListener("htmx:sseMessage", (event) => { if (event.detail?.data) pulse = event.detail.data; });
  const inHand = (target) => unsaved() || target.matches("#whole") && target.contains(document.activeElement) && document.activeElement.matches("input:not([type=radio]), textarea, select");
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isLive(event)) return;
    const target = event.detail.target;
    if (inHand(target)) { event.preventDefault(); $("#news").hidden = false; }
    else if ($("details.menu[open]", target)) { event.preventDefault(); setTimeout(refresh, 2000); }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!isLive(event)) return;
    if (inHand(event.detail.target)) { event.detail.shouldSwap = false; $("#news").hidden = false; return; } // begun since it was asked for
    const active = event.detail.target.contains(document.activeElement) ? document.activeElement : null;
    place = { row: at() && $("a.title", at())?.href, href: active?.href, id: active?.id };
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!place || !isLive(event)) return;
    const links = (href) => all("a", $("#main")).filter((a) => a.href === href);
    if (place.row) links(place.row)[0]?.closest("[data-row]")?.classList.add("at");
    const back = place.id ? document.getElementById(place.id) : place.href && links(place.href).find((a) => a.offsetParent);
    back?.focus({ preventScroll: true });
    place = null;
  });
  // where no stream comes through (a proxy, an old browser): ask now and then
  setInterval(() => { if ($("#live") && !document.hidden && source?.readyState !== 1) refresh(); }, QUIET);
  // browsers allow six connections to a host: tabs that nobody sees give theirs back
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(() => source?.close(), HIDDEN);
    else if (source?.readyState === 2) listen();
  });
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });

  document.addEventListener("DOMContentLoaded", () => {
    settled(document);
    if (location.hash === "#id_text") $("#id_text")?.focus();
  });
})();
