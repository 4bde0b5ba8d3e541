"use strict";
// Keeps the page as its order is. The server decides what a page shows: the script only asks for the page again, and puts it
// in place once it has come. Whatever stands between (a proxy's error page, no network), the customer never leaves this page.
(function () {
  var source = null, timer = null, failures = 0, asked = 0;
  // What a page says may also depend on how long it has waited, which is no event.
  var PATIENCE_MS = 30000;
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
  // Some milliseconds more for some pages than for others: after a restart they do not all come at once.
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
    // Old browsers: as without JavaScript.
    if (!window.fetch || !window.AbortController || !window.DOMParser) { window.location.reload(); return; }
    var patience = new AbortController();
    var limit = setTimeout(function () { patience.abort(); }, 15000);
    fetch(attribute("again"), { cache: "no-store", signal: patience.signal })
      .then(function (response) { return response.text(); })
      .then(function (text) {
        clearTimeout(limit);
        var page = new DOMParser().parseFromString(text, "text/html");
        var status = page.getElementById("status");
        // Only a page of ours about this order; ours about a database that is away is about none.
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
    timer = setTimeout(ask, PATIENCE_MS);
    source.onopen = answered;
    source.addEventListener("order", function (event) {
      if (event.lastEventId === attribute("event-id")) { return; }
      if (Date.now() - asked < 1000) { later(); } else { ask(); }
    });
    source.addEventListener("end", function () { source.close(); });
    source.onerror = function () {
      // Refused, by us or by a proxy: the browser tries no more by itself.
      if (source.readyState === EventSource.CLOSED) { stop(); failed(); }
    };
  }

  window.addEventListener("pageshow", function (event) { if (event.persisted && attribute("again")) { ask(); } });
  follow();
})();
