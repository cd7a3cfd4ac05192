"use strict";
(function () {
  var folds = document.querySelectorAll("details"), opened = [];
  addEventListener("beforeprint", function () {
    folds.forEach(function (fold) {
      if (!fold.open && fold.dataset.print === "open") { fold.open = true; opened.push(fold); }
    });
  });
  addEventListener("afterprint", function () {
    opened.forEach(function (fold) { fold.open = false; });
    opened = [];
  });
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var up = target; up; up = up.parentElement) { if (up.tagName === "DETAILS") { up.open = true; } }
    if (target) { target.scrollIntoView(); }
  }
  addEventListener("hashchange", reveal);
  reveal();
})();
