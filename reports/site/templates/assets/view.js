"use strict";
/* What the reader chose (theme, sort, filter, what is shown), kept in the address after the #.
   Loaded in the head, so that the page is painted in its theme at once. */
var View = (function () {
  var params = read();
  var listeners = [];

  function stored(value) {
    try {
      if (value !== undefined) localStorage.setItem("pathproof-theme", value);
      return localStorage.getItem("pathproof-theme");
    } catch (refused) {
      return null;
    }
  }

  /* #prices, as in a page without scripts, is #at=prices. */
  function read() {
    var hash = location.hash.slice(1);
    return new URLSearchParams(hash && !hash.includes("=") ? "at=" + hash : hash);
  }

  function get(key) { return params.get(key) || ""; }

  function set(key, value) {
    if (value) params.set(key, value); else params.delete(key);
    params.delete("at");
    var hash = "#" + params.toString();
    try { history.replaceState(null, "", hash); } catch (refused) { location.replace(hash); }
    links();
  }

  function links() {
    document.querySelectorAll("[data-link]").forEach(function (link) {
      var own = new URLSearchParams(params);
      own.set("at", link.dataset.link);
      link.setAttribute("href", "#" + own.toString());
    });
  }

  function dark() {
    var chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function theme(name) {
    if (name === "dark" || name === "light") document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
  }

  function tell() { listeners.forEach(function (listener) { listener(); }); }

  function arrive() {
    var at = document.getElementById(get("at"));
    if (!at) return;
    for (var one = at.closest("details"); one; one = one.parentElement.closest("details")) one.open = true;
    (at.matches(".body") ? at.closest("section") : at).scrollIntoView();
    at.focus({ preventScroll: true });
  }

  /* Printed are all parts; those that were folded are folded again. */
  function unfold() {
    View.folded = Array.from(document.querySelectorAll(".part > details:not([open])"));
    View.folded.forEach(function (part) { part.open = true; });
  }
  function fold() {
    View.folded.forEach(function (part) { part.open = false; });
  }

  /* In the contents, the part that is being read. */
  function follow() {
    var links = Array.from(document.querySelectorAll(".contents a"));
    function mark() {
      var here = null;
      links.forEach(function (link) {
        var part = document.getElementById(link.dataset.link);
        if (part && part.closest("section").getBoundingClientRect().top < innerHeight / 3) here = link;
      });
      links.forEach(function (link) {
        if (link === here) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
      });
      if (here) here.closest("nav").scrollLeft = here.offsetLeft; /* where the contents are one line */
    }
    if (links.length) addEventListener("scroll", mark, { passive: true });
  }

  theme(get("theme") || stored());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  addEventListener("hashchange", function () {
    params = read();
    theme(get("theme") || stored());
    links();
    tell();
    arrive();
  });
  addEventListener("beforeprint", function () {
    View.before = document.documentElement.dataset.theme;
    unfold();
    theme("light");
    tell();
  });
  addEventListener("afterprint", function () { fold(); theme(View.before); tell(); });
  addEventListener("DOMContentLoaded", function () {
    document.getElementById("theme").addEventListener("click", function () {
      var name = dark() ? "light" : "dark";
      theme(name);
      stored(name);
      set("theme", name);
      tell();
    });
    links();
    follow();
  });
  addEventListener("load", arrive);

  function save(name, type, text) {
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: type }));
    link.download = name;
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 10000);
  }

  function field(value) {
    var text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && isNaN(Number(text))) text = "'" + text;
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  function csv(rows) {
    return rows.map(function (row) { return row.map(field).join(",") + "\r\n"; }).join("");
  }

  return {
    get: get, set: set, dark: dark, save: save, csv: csv,
    onChange: function (listener) { listeners.push(listener); }
  };
})();
