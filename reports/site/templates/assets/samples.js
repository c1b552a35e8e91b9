"use strict";
/* The table of samples, drawn a page at a time from the columns in the page; a promise of what figures need of them. */
var Samples = Data.then(function (data) {
  var PAGE = 100;
  var KINDS = ["counted", "warm-up", "not valid", "cell does not count"];
  var s = data.samples;

  /* Columns come packed: see reports/site/packing.py. */
  function unpack(column) {
    if (typeof column !== "string") return column;
    var text = atob(column.slice(2)), width = Number(column[1]), count = text.length / width, at = 0;
    var bytes = new DataView(new ArrayBuffer(4)), made = new Array(count);
    for (var n = 0; n < count; n++) {
      var whole = 0;
      for (var i = 0; i < width; i++) whole += text.charCodeAt(at++) * Math.pow(256, i);
      if (column[0] === "f") {
        bytes.setUint32(0, whole * 256);
        whole = bytes.getFloat32(0);
        whole = isNaN(whole) ? null : Number(whole.toPrecision(5));
      }
      made[n] = whole;
    }
    return made;
  }
  Object.keys(s).forEach(function (name) { if (name !== "cells") s[name] = unpack(s[name]); });

  /* the samples of each cell that count, in the order they were taken */
  var counted = s.cells.map(function () { return []; });
  s.cell.forEach(function (cell, n) { if (s.state[n] === 0) counted[cell].push(n); });

  function column(name) { return function (n) { return s[name][n] ?? null; }; }
  function bytes(n) { return n in s.bytes ? s.bytes[n] : s.sizes[s.cell[n]]; }
  function goodput(n) { return s.seconds[n] && bytes(n) ? bytes(n) * 8 / s.seconds[n] : null; }
  function perGB(name) {
    return function (n) {
      var cpu = s[name][n] ?? null;
      return cpu === null || !bytes(n) ? null : cpu * 1e9 / bytes(n);
    };
  }

  /* name in the CSV, heading, value, factor from value to what is shown */
  var COLUMNS = [
    ["cell", "Cell", function (n) { return s.cells[s.cell[n]]; }],
    ["block", "Block", column("block"), 1],
    ["index", "Sample", column("index"), 1],
    ["kind", "Kind", function (n) { return KINDS[s.state[n]]; }],
    ["seconds", "Time (s)", column("seconds"), 1],
    ["handshake_seconds", "Handshake (ms)", column("handshake"), 1e3],
    ["bytes", "Bytes", bytes, 1],
    ["goodput_bits_per_second", "Goodput (Mbit/s)", goodput, 1e-6],
    ["sender_cpu_seconds_per_gb", "Sender CPU (s/GB)", perGB("sender"), 1],
    ["receiver_cpu_seconds_per_gb", "Receiver CPU (s/GB)", perGB("receiver"), 1],
    ["latency_p50_us", "Median request (µs)", column("latency"), 1],
    ["reason", "Reason", function (n) { return s.reason[n] || ""; }]
  ].filter(function (c) {
    return s.cell.length < 1 || s.cell.some(function (_, n) { var v = c[2](n); return v !== null && v !== ""; });
  });

  function el(id) { return document.getElementById(id); }
  function shown(value, factor) {
    if (value === null || value === undefined) return "–";
    if (factor === undefined) return value;
    value *= factor;
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  }

  var rows = [], page = 0;

  function choose() {
    var cell = View.get("samples.cell"), kind = View.get("samples.kind");
    var sort = View.get("samples.sort").split(" ");
    el("sample-cell").value = cell;
    el("sample-kind").value = kind;
    var number = s.cells.indexOf(cell);
    rows = [];
    for (var n = 0; n < s.cell.length; n++) {
      if ((!cell || s.cell[n] === number) && (!kind || s.state[n] === Number(kind))) rows.push(n);
    }
    var by = COLUMNS.find(function (c) { return c[0] === sort[0]; });
    if (by) {
      var keys = new Map(rows.map(function (n) { return [n, by[2](n)]; }));
      var sign = sort[1] === "down" ? -1 : 1;
      rows.sort(function (a, b) {
        var x = keys.get(a), y = keys.get(b);
        if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
        return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
      });
    }
    Array.from(el("sample-table").tHead.rows[0].cells).forEach(function (th, i) {
      th.setAttribute("aria-sort", COLUMNS[i] !== by ? "none" : sort[1] === "down" ? "descending" : "ascending");
    });
    page = 0;
    draw();
  }

  function draw() {
    var from = page * PAGE, some = rows.slice(from, from + PAGE);
    var body = document.createElement("tbody");
    some.forEach(function (n) {
      var tr = body.insertRow();
      tr.className = "kind-" + s.state[n];
      COLUMNS.forEach(function (c) {
        var td = tr.insertCell();
        td.textContent = shown(c[2](n), c[3]);
        td.className = c[3] !== undefined ? "n" : { cell: "mono", reason: "long" }[c[0]] || "";
      });
    });
    el("sample-table").tBodies[0].replaceWith(body);
    el("sample-count").textContent = (rows.length < s.cell.length ? rows.length + " of " : "") + s.cell.length + " samples";
    el("sample-page").textContent = rows.length ? (from + 1) + "–" + (from + some.length) + " of " + rows.length : "no sample";
    el("sample-back").disabled = !page;
    el("sample-on").disabled = from + PAGE >= rows.length;
  }

  var head = el("sample-table").tHead.insertRow();
  COLUMNS.forEach(function (c) {
    var th = document.createElement("th"), button = document.createElement("button");
    th.scope = "col";
    button.type = "button";
    button.textContent = c[1];
    button.addEventListener("click", function () {
      var now = View.get("samples.sort");
      View.set("samples.sort", now === c[0] + " up" ? c[0] + " down" : now === c[0] + " down" ? "" : c[0] + " up");
      choose();
    });
    th.append(button);
    head.append(th);
  });
  s.cells.forEach(function (name) { el("sample-cell").add(new Option(name, name)); });
  ["cell", "kind"].forEach(function (name) {
    el("sample-" + name).addEventListener("change", function (event) {
      View.set("samples." + name, event.target.value);
      choose();
    });
  });
  el("sample-back").addEventListener("click", function () { page--; draw(); });
  el("sample-on").addEventListener("click", function () { page++; draw(); });
  el("sample-csv").addEventListener("click", function () {
    var names = COLUMNS.map(function (c) { return c[0]; });
    View.save("samples-shown.csv", "text/csv", View.csv([names].concat(rows.map(function (n) {
      return COLUMNS.map(function (c) { return c[2](n); });
    }))));
  });
  View.onChange(choose);
  choose();

  return {
    /* The samples of a cell that count: [{value, label}], in the order they were taken. */
    points: function (cell, quantity) {
      var of = {
        goodput_bits_per_second: goodput, latency_p50_us: column("latency"),
        sender_cpu_seconds_per_gb: perGB("sender"), receiver_cpu_seconds_per_gb: perGB("receiver")
      }[quantity];
      return counted[cell].filter(function (n) { return of(n) !== null; }).map(function (n) {
        return { value: of(n), label: "block " + s.block[n] + ", sample " + s.index[n] + ": " + shown(s.seconds[n], 1) + " s" };
      });
    }
  };
});
