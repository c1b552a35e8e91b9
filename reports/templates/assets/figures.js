"use strict";
/* Draws the figures: their structure comes with the page, samples and colours are added here. */
(function () {
  var probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  /* a page without a table of samples has its figures alone */
  var figures = window.Samples ? Samples.figures : JSON.parse(document.getElementById("report-data").textContent).figures;

  function colour(name) {
    probe.style.color = "var(--" + name + ")";
    return getComputedStyle(probe).color;
  }

  function points(trace) {
    var meta = trace.meta, text = [];
    meta.samples.forEach(function (place) {
      var found = Samples.points(place[0], meta.quantity);
      found.forEach(function (point, i) {
        trace.x.push(place[1] + ((i + 0.5) / found.length - 0.5) * meta.spread);
        trace.y.push(point.value / meta.factor);
        text.push(point.label + "<br>" + Number((point.value / meta.factor).toPrecision(4)));
      });
    });
    trace.hovertext = text;
  }

  function paint(data, layout) {
    var ink = colour("ink"), muted = colour("muted"), paper = colour("paper"), rule = colour("rule");
    data.forEach(function (trace) {
      var meta = trace.meta, marker = trace.marker;
      if (meta.samples) marker.color = ink;
      else if (meta.ink) marker.color = ink;
      else if (meta.colours) {
        marker.color = meta.colours.map(function (n) { return colour("s" + n % 8); });
        trace.error_x.color = muted;
      } else {
        marker.color = colour("s" + meta.series % 8);
        marker.pattern.fgcolor = paper;
        trace.error_y.color = ink;
      }
      if (meta.samples) marker.opacity = 0.6;
      trace.hoverlabel = { bgcolor: paper, bordercolor: muted, font: { color: ink }, align: "left" };
    });
    layout.font.color = muted;
    ["xaxis", "yaxis", "yaxis2"].forEach(function (name) {
      if (layout[name]) Object.assign(layout[name], { gridcolor: rule, linecolor: muted, tickfont: { color: ink } });
    });
    (layout.shapes || []).forEach(function (shape) {
      if (shape.name === "margin") shape.fillcolor = colour("band");
      else shape.line.color = shape.name === "one" ? ink : colour("accent");
    });
    (layout.annotations || []).forEach(function (note) {
      note.font = Object.assign(note.font || {}, {
        color: { heading: ink, value: ink, paper: colour("accent"), link: colour("accent") }[note.name] || muted
      });
    });
  }

  function setUp(place) {
    var id = place.dataset.figure, spec = figures[id], figure = place.parentElement;
    var buttons = Array.from(figure.querySelectorAll("[data-series]"));
    var drawn = false;

    function hidden() { return View.get("hide." + id).split(" ").filter(Boolean); }

    function draw() {
      if (!drawn) spec.data.forEach(function (trace) { if (trace.meta.samples) points(trace); });
      var off = hidden();
      paint(spec.data, spec.layout);
      spec.data.forEach(function (trace) { trace.visible = !off.includes(trace.legendgroup); });
      (spec.layout.annotations || []).forEach(function (note) { if (note.name === "value") note.visible = !off.includes("-1"); });
      drawn = true;
      return Plotly.react(place, spec.data, spec.layout, { responsive: true, displayModeBar: false });
    }

    function mark() {
      var off = hidden();
      buttons.forEach(function (button) { button.setAttribute("aria-pressed", String(!off.includes(button.dataset.series))); });
    }

    buttons.forEach(function (button) {
      button.addEventListener("click", function () {
        var off = hidden(), at = off.indexOf(button.dataset.series);
        if (at < 0) off.push(button.dataset.series); else off.splice(at, 1);
        View.set("hide." + id, off.join(" "));
        mark();
        draw();
      });
    });
    figure.querySelector("[data-image]").addEventListener("click", function () {
      draw().then(function () { return Plotly.toImage(place, { format: "svg", width: place.clientWidth, height: spec.layout.height }); })
        .then(function (url) { View.save(id + ".svg", "image/svg+xml", decodeURIComponent(url.slice(url.indexOf(",") + 1))); });
    });
    mark();
    return { place: place, draw: draw, change: function () { mark(); if (drawn) draw(); } };
  }

  var all = Array.from(document.querySelectorAll("[data-figure]"), setUp);
  var watch = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (!entry.isIntersecting) return;
      watch.unobserve(entry.target);
      all.find(function (one) { return one.place === entry.target; }).draw();
    });
  }, { rootMargin: "800px" });
  all.forEach(function (one) { watch.observe(one.place); });
  View.onChange(function () { all.forEach(function (one) { one.change(); }); });
  addEventListener("beforeprint", function () { all.forEach(function (one) { one.draw(); }); });
})();
