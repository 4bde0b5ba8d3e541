"use strict";
// Loads the page anew when the order has moved on from what the page shows; the server decides what it shows then.
(function () {
  var main = document.getElementById("status");
  var events = main.getAttribute("data-events");
  function again() { window.location.reload(); }
  // Browsers without events, and refused streams: as without JavaScript, ask again.
  if (!window.EventSource) { setTimeout(again, 3000); return; }
  var source = new EventSource(events);
  source.addEventListener("order", function (event) {
    var order = JSON.parse(event.data);
    var shown = main.getAttribute("data-status");
    var address = main.getAttribute("data-payment-url");
    if (order.status !== shown || order.payment_url !== address) {
      source.close();
      again();
    }
  });
  source.onerror = function () {
    if (source.readyState === EventSource.CLOSED) { setTimeout(again, 3000); }
  };
})();
