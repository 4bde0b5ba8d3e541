"use strict";
// Keeps the page up to date with its order. The server decides what a page shows: the script only fetches the page again
// and replaces its content. After a failure (a proxy's error page, no network) the customer still has the old page.
(function () {
  var source = null, timer = null, failures = 0, asked = 0, ahead = 0, rest = null;
  // The content may also depend on the time the page has waited, for which there is no event.
  var REFRESH_MS = 30000;
  function find(id) { return document.getElementById(id); }
  function shown() { return find("status"); }
  function attribute(name) { return shown().getAttribute("data-" + name); }
  function trouble(isThere) {
    var note = find("trouble");
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

  // What has not changed stays: a screen reader reads what is said when it changes, and a button keeps the focus.
  function show(status) {
    // A page of an older release has no such parts; while a new release comes, both show pages.
    if (!find("said") || !status.querySelector("#said")) {
      shown().replaceWith(document.importNode(status, true));
      rest = null;
      return;
    }
    var old = shown();
    old.getAttributeNames().concat(status.getAttributeNames()).forEach(function (name) {
      if (status.hasAttribute(name)) { old.setAttribute(name, status.getAttribute(name)); } else { old.removeAttribute(name); }
    });
    var said = status.querySelector("#said").innerHTML, fresh = status.querySelector("#rest").innerHTML;
    if (find("said").innerHTML !== said) { find("said").innerHTML = said; }
    if (rest !== fresh) { find("rest").innerHTML = rest = fresh; }
    count();
    // The browser follows the page's own words only where it has loaded the page.
    if (attribute("leave")) {
      setTimeout(function () { window.location.assign(attribute("leave")); }, 1000 * Number(attribute("leave-after")));
    }
  }

  // The minutes left to pay. The customer's clock may be wrong, so the server's time counts.
  function count() {
    var until = find("until"), left = find("left");
    if (!until) { return; }
    if (attribute("now")) { ahead = Date.now() - Number(attribute("now")); shown().removeAttribute("data-now"); }
    var minutes = Math.ceil((Date.parse(until.getAttribute("datetime")) - Date.now() + ahead) / 60000);
    left.textContent = minutes > 0 && minutes <= 120 ? left.getAttribute("data-words").replace("{}", minutes) : "";
  }

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
        show(status);
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
  rest = find("rest").innerHTML;
  setInterval(count, 5000);
  count();
  follow();
})();
