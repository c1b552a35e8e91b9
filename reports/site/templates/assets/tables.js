"use strict";
/* Tables that are in the page as HTML: sort by a heading, filter by words, download the rows shown. */
(function () {
  var compare = new Intl.Collator("en", { numeric: true }).compare;

  function value(cell) { return cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim(); }

  function order(a, b) {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    var x = Number(a), y = Number(b);
    return isNaN(x) || isNaN(y) ? compare(a, b) : x - y;
  }

  function enhance(table) {
    var id = table.dataset.table;
    var body = table.tBodies[0];
    var rows = Array.from(body.rows);
    var heads = Array.from(table.tHead.rows[0].cells);
    var filter = document.querySelector('[data-filter="' + id + '"]');
    var count = document.querySelector('[data-count="' + id + '"]');
    var downloads = document.querySelectorAll('[data-csv="' + id + '"]');
    var texts = filter && rows.map(function (row) { return row.textContent.toLowerCase(); });

    function sort() {
      var chosen = View.get("sort." + id).split(" ");
      var column = chosen[0] === "" ? -1 : Number(chosen[0]);
      var sign = chosen[1] === "down" ? -1 : 1;
      var sorted = rows.slice();
      if (heads[column]) {
        sorted.sort(function (a, b) {
          var x = value(a.cells[column]), y = value(b.cells[column]);
          return x === "" || y === "" ? order(x, y) : sign * order(x, y);
        });
      }
      heads.forEach(function (head, n) {
        head.setAttribute("aria-sort", n !== column ? "none" : sign > 0 ? "ascending" : "descending");
      });
      body.append.apply(body, sorted);
    }

    function narrow() {
      if (!filter) return;
      var wanted = View.get("filter." + id).toLowerCase().split(/\s+/).filter(Boolean);
      if (filter.value.toLowerCase().trim() !== View.get("filter." + id).toLowerCase()) filter.value = View.get("filter." + id);
      var shown = 0;
      rows.forEach(function (row, n) {
        row.hidden = !wanted.every(function (word) { return texts[n].includes(word); });
        shown += !row.hidden;
      });
      var noun = rows.length === 1 ? count.dataset.noun.replace(/s$/, "") : count.dataset.noun;
      count.textContent = (shown === rows.length ? "" : shown + " of ") + rows.length + " " + noun;
    }

    if (table.closest(".cards")) {
      rows.forEach(function (row) {
        Array.from(row.cells).forEach(function (cell, n) { cell.dataset.label = heads[n].textContent.trim(); });
      });
    }
    heads.forEach(function (head, n) {
      head.firstElementChild.addEventListener("click", function () {
        var now = View.get("sort." + id);
        View.set("sort." + id, now === n + " up" ? n + " down" : now === n + " down" ? "" : n + " up");
        sort();
      });
    });
    if (filter) filter.addEventListener("input", function () { View.set("filter." + id, filter.value.trim()); narrow(); });
    downloads.forEach(function (download) {
      download.addEventListener("click", function () {
        var shown = Array.from(body.rows).filter(function (row) { return !row.hidden; });
        var lines = [heads.map(function (head) { return head.textContent.trim(); })].concat(shown.map(function (row) {
          return Array.from(row.cells, function (cell) { return cell.dataset.csv !== undefined ? cell.dataset.csv : value(cell); });
        }));
        View.save(download.dataset.name, "text/csv", View.csv(lines));
      });
    });
    sort();
    narrow();
    View.onChange(function () { sort(); narrow(); });
  }

  /* The data of a figure comes packed: a field is what it shows, or its value and what it shows. */
  function fill(table, content) {
    var head = table.createTHead().insertRow(), body = table.createTBody();
    content.columns.forEach(function (name) {
      var th = document.createElement("th"), button = document.createElement("button");
      th.scope = "col";
      button.type = "button";
      button.textContent = name;
      th.append(button);
      head.append(th);
    });
    content.rows.forEach(function (row) {
      var tr = body.insertRow();
      row.forEach(function (field) {
        var td = tr.insertCell(), pair = field === null ? ["", "–"] : Array.isArray(field) ? field : [null, field];
        td.textContent = pair[1];
        if (pair[0] !== null) td.dataset.v = pair[0];
      });
    });
  }

  document.querySelectorAll("table[data-table]:not([data-packed])").forEach(enhance);
  if (window.Data) Data.then(function (data) {
    document.querySelectorAll("table[data-packed]").forEach(function (table) {
      fill(table, data.tables[table.dataset.table]);
      enhance(table);
    });
  });
})();
