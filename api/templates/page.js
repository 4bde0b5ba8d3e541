"use strict";
// Keeps the page up to date with its order. The server decides what a page shows: the script only fetches the page again
// and replaces its content. After a failure (a proxy's error page, no network) the customer still has the old page.
(function () {
  var source = null, timer = null, failures = 0, asked = 0;
  // The content may also depend on the time the page has waited, for which there is no event.
  var REFRESH_MS = 30000;
  function shown() { return document.getElementById("status"); }
  function attribute(name) { return shown().getAttribute("data-" + name); }
  function trouble(isThere) {
    var note = document.getElementById("trouble");
    if (note) { note.hidden = !isThere; }
  }
  function stop() {
    if (source) { source.close(); source = null; }
    clearTimeout(timer);
  }
  // A random delay: after a restart of the server the pages must not all come at once.
  function later() {
    clearTimeout(timer);
    timer = setTimeout(ask, Math.min(2000 + 1000 * failures, 10000) + Math.random() * 500);
  }
  function failed() {
    failures += 1;
    if (failures > 1) { trouble(true); }
    later();
  }
  function answered() { failures = 0; trouble(false); }

  function ask() {
    stop();
    asked = Date.now();
    // Old browsers reload, as without JavaScript.
    if (!window.fetch || !window.AbortController || !window.DOMParser) { window.location.reload(); return; }
    var timeout = new AbortController();
    var limit = setTimeout(function () { timeout.abort(); }, 15000);
    fetch(attribute("again"), { cache: "no-store", signal: timeout.signal })
      .then(function (response) { return response.text(); })
      .then(function (text) {
        clearTimeout(limit);
        var page = new DOMParser().parseFromString(text, "text/html");
        var status = page.getElementById("status");
        // Only our page about this order; our page about an unavailable database has no status.
        if (!status || !status.getAttribute("data-status")) { failed(); return; }
        answered();
        if (status.getAttribute("data-forward")) { window.location.replace(status.getAttribute("data-forward")); return; }
        document.title = page.title;
        document.documentElement.lang = page.documentElement.lang;
        shown().replaceWith(document.importNode(status, true));
        follow();
      })
      .catch(function () { clearTimeout(limit); failed(); });
  }

  function follow() {
    if (!attribute("again")) { return; } // nothing more will come
    if (!attribute("events") || !window.EventSource) { later(); return; }
    source = new EventSource(attribute("events"));
    timer = setTimeout(ask, REFRESH_MS);
    source.onopen = answered;
    source.addEventListener("order", function (event) {
      if (event.lastEventId === attribute("event-id")) { return; }
      if (Date.now() - asked < 1000) { later(); } else { ask(); }
    });
    source.addEventListener("end", function () { source.close(); });
    source.onerror = function () {
      // Refused by us or by a proxy: the browser does not try again by itself.
      if (source.readyState === EventSource.CLOSED) { stop(); failed(); }
    };
  }

  window.addEventListener("pageshow", function (event) { if (event.persisted && attribute("again")) { ask(); } });
  follow();
})();
