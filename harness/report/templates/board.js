"use strict";
(function () {
  function follow(name, same) {
    var place = document.getElementById(name), before = place.innerHTML;
    function again() {
      var inside = place.contains(document.activeElement);
      fetch("/" + name, { credentials: "same-origin" }).then(function (reply) {
        return reply.ok ? reply.text() : before;
      }).then(function (text) {
        if (text !== before && !same(place, text, inside)) { place.innerHTML = before = text; }
      }).catch(function () {}).then(function () { setTimeout(again, 2000); });
    }
    setTimeout(again, 2000);
  }
  function clock() {
    var place = document.querySelector("[data-since]");
    if (place) {
      var s = Math.max(0, Math.round((Date.now() - Date.parse(place.dataset.since)) / 1000));
      place.textContent = "Waiting for " + (s < 60 ? s + " s." : Math.floor(s / 60) + " min " + s % 60 + " s.");
    }
  }
  follow("live", function (place, text, inside) { return inside; });
  // What somebody types is left alone for as long as the same step is asked.
  follow("asked", function (place, text) {
    var now = place.querySelector("[data-number]");
    return now !== null && text.indexOf('data-number="' + now.dataset.number + '"') >= 0;
  });
  clock();
  setInterval(clock, 1000);
})();
