"use strict";
/* What the page holds for its scripts (see reports/site/packing.py), unpacked: a promise. */
var Data = (function () {
  var text = atob(document.getElementById("report-data").textContent);
  var bytes = Uint8Array.from(text, function (letter) { return letter.charCodeAt(0); });
  try {
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  } catch (missing) {
    return Promise.reject(new Error("This browser cannot unpack the data of this page; the CSV files beside it have all of it."));
  }
})();
Data.catch(function (error) {
  var said = document.createElement("p");
  said.className = "banner error";
  said.textContent = error.message;
  document.getElementById("main").prepend(said);
});
