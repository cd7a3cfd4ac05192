"use strict";
(function () {
  var place = document.getElementById("live"), before = place.innerHTML;
  function again() {
    var inside = place.contains(document.activeElement);
    fetch("/live", { credentials: "same-origin" }).then(function (reply) {
      return reply.ok ? reply.text() : before;
    }).then(function (text) {
      if (text !== before && !inside) { place.innerHTML = before = text; }
    }).catch(function () {}).then(function () { setTimeout(again, 2000); });
  }
  setTimeout(again, 2000);
})();
