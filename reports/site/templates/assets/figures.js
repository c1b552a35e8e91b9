"use strict";
/* Draws the figures: their structure comes with the page, samples and colours are added here. */
(function (self) {
Promise.all([Data, window.Samples]).then(function (known) {
  var figures = known[0].figures, samples = known[1]; /* a page without a table of samples has its figures alone */
  var probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  /* how far the page is, for tests and benchmarks */
  function reached(what) {
    performance.mark(what);
    document.documentElement.dataset.reached = what;
  }

  function colour(name) {
    probe.style.color = "var(--" + name + ")";
    return getComputedStyle(probe).color;
  }

  function points(trace) {
    var meta = trace.meta, text = [];
    meta.samples.forEach(function (place) {
      var found = samples.points(place[0], meta.quantity);
      found.forEach(function (point, i) {
        trace.x.push(place[1] + ((i + 0.5) / found.length - 0.5) * meta.spread);
        trace.y.push(point.value / meta.factor);
        text.push(point.label + "<br>" + Number((point.value / meta.factor).toPrecision(4)));
      });
    });
    trace.hovertext = text;
  }

  function paint(data, layout) {
    var ink = colour("ink"), muted = colour("muted"), paper = colour("paper"), rule = colour("rule"), accent = colour("accent");
    data.forEach(function (trace) {
      var meta = trace.meta, marker = trace.marker || {};
      if (meta.line !== undefined || meta.muted || meta.accent) {
        var own = meta.muted ? muted : meta.accent ? accent : colour("s" + meta.line % 8);
        trace.line.color = own;
        marker.color = own;
        if (trace.error_y) trace.error_y.color = own;
      } else if (meta.samples) {
        marker.color = ink;
        marker.opacity = 0.6;
      } else if (meta.ink) {
        marker.color = ink;
      } else if (meta.colours) {
        marker.color = meta.colours.map(function (n) { return colour("s" + n % 8); });
        trace.error_x.color = muted;
      } else {
        marker.color = colour("s" + meta.series % 8);
        marker.pattern.fgcolor = paper;
        trace.error_y.color = ink;
      }
      trace.hoverlabel = { bgcolor: paper, bordercolor: muted, font: { color: ink }, align: "left" };
    });
    layout.font.color = muted;
    ["xaxis", "yaxis", "yaxis2"].forEach(function (name) {
      if (layout[name]) Object.assign(layout[name], { gridcolor: rule, linecolor: muted, tickfont: { color: ink } });
    });
    (layout.shapes || []).forEach(function (shape) {
      if (shape.name === "margin") shape.fillcolor = colour("band");
      else shape.line.color = shape.name === "one" ? ink : accent;
    });
    (layout.annotations || []).forEach(function (note) {
      note.font = Object.assign(note.font || {}, {
        color: { heading: ink, value: ink, paper: accent, link: accent }[note.name] || muted
      });
    });
  }

  /* Plotly is large: it is fetched when the page was painted and can be used, and figures are drawn as they come near. */
  var ready = new Promise(function (resolve, reject) {
    var script = document.createElement("script");
    script.src = self.dataset.plotly;
    script.onload = resolve;
    script.onerror = reject;
    setTimeout(function () { document.head.append(script); }, 50);
  });

  function setUp(figure) {
    var id = figure.id, buttons = Array.from(figure.querySelectorAll("[data-series]"));
    var plots = Array.from(figure.querySelectorAll("[data-figure]"), function (place) {
      return { place: place, spec: figures[place.dataset.figure], drawn: false };
    });

    function hidden() { return View.get("hide." + id).split(" ").filter(Boolean); }

    function draw(plot) {
      var spec = plot.spec, off = hidden();
      function shown(group) { return !group.split(" ").some(function (one) { return off.includes(one); }); }
      if (!plot.drawn) spec.data.forEach(function (trace) { if (trace.meta.samples) points(trace); });
      paint(spec.data, spec.layout);
      spec.data.forEach(function (trace) { trace.visible = shown(trace.legendgroup); });
      (spec.layout.annotations || []).forEach(function (note) { if (note.name === "value") note.visible = shown("-1"); });
      plot.drawn = true;
      return Plotly.react(plot.place, spec.data, spec.layout, { responsive: true, displayModeBar: false }).then(function (made) {
        reached("drawn");
        return made;
      });
    }

    function mark() {
      var off = hidden();
      buttons.forEach(function (button) { button.setAttribute("aria-pressed", String(!off.includes(button.dataset.series))); });
    }

    function again() {
      mark();
      plots.forEach(function (plot) { if (plot.drawn) draw(plot); });
    }

    /* The chart as a picture; several charts below one another, each with its heading. */
    function picture() {
      return plots.reduce(function (before, plot) {
        return before.then(function (made) {
          var heading = plot.place.parentElement.querySelector("h4"), height = plot.spec.layout.height, width = plot.place.clientWidth;
          return draw(plot).then(function () {
            return Plotly.toImage(plot.place, { format: "svg", width: width, height: height });
          }).then(function (url) {
            made.push({ svg: decodeURIComponent(url.slice(url.indexOf(",") + 1)), width: width, height: height, heading: heading && heading.textContent });
            return made;
          });
        });
      }, Promise.resolve([])).then(function (made) { return made.length > 1 ? stack(made) : made[0].svg; });
    }

    buttons.forEach(function (button) {
      button.addEventListener("click", function () {
        var off = hidden(), at = off.indexOf(button.dataset.series);
        if (at < 0) off.push(button.dataset.series); else off.splice(at, 1);
        View.set("hide." + id, off.join(" "));
        again();
      });
    });
    figure.querySelector("[data-image]").addEventListener("click", function () {
      ready.then(picture).then(function (svg) { View.save(id + ".svg", "image/svg+xml", svg); });
    });
    mark();
    return { plots: plots, draw: draw, again: again };
  }

  function stack(made) {
    var top = 0, width = Math.max.apply(null, made.map(function (one) { return one.width; }));
    var parts = made.map(function (one) {
      var heading = document.createElement("b"), y = top;
      heading.textContent = one.heading || "";
      top += one.height + 24;
      return '<text x="8" y="' + (y + 16) + '" font-family="sans-serif" font-size="13" font-weight="600" fill="' + colour("ink") + '">' +
        heading.innerHTML + "</text>" + one.svg.replace("<svg ", '<svg y="' + (y + 24) + '" ');
    });
    return '<svg xmlns="http://www.w3.org/2000/svg" width="' + width + '" height="' + top + '">' + parts.join("") + "</svg>";
  }

  var all = Array.from(document.querySelectorAll("figure")).filter(function (figure) {
    return figure.querySelector("[data-figure]");
  }).map(setUp);
  /* One a turn, what a reader sees first: a page with all its figures near would else stand still until the last. */
  var near = [], busy = false;

  function far(one) {
    var box = one.plot.place.getBoundingClientRect();
    return Math.max(0, box.top - innerHeight, -box.bottom);
  }

  function turn() {
    near.sort(function (a, b) { return far(a) - far(b); });
    var next = near.shift();
    busy = !!next;
    if (!next) return;
    Promise.resolve().then(function () {
      return next.plot.drawn || next.figure.draw(next.plot);
    }).finally(function () { setTimeout(turn); });
  }

  var watch = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (!entry.isIntersecting) return;
      watch.unobserve(entry.target);
      all.forEach(function (figure) {
        figure.plots.forEach(function (plot) { if (plot.place === entry.target) near.push({ figure: figure, plot: plot }); });
      });
    });
    if (!busy) turn();
  }, { rootMargin: "800px" });
  ready.then(function () {
    all.forEach(function (figure) { figure.plots.forEach(function (plot) { watch.observe(plot.place); }); });
  }, function () {
    all.forEach(function (figure) {
      figure.plots.forEach(function (plot) { plot.place.textContent = "This page was moved without its folder assets: no figure can be drawn."; });
    });
  });
  /* A figure that was drawn and folded away knows nothing of the width that the window has since. */
  document.querySelectorAll(".part > details").forEach(function (part) {
    part.addEventListener("toggle", function () {
      if (part.open) all.forEach(function (figure) {
        figure.plots.forEach(function (plot) { if (plot.drawn && part.contains(plot.place)) Plotly.Plots.resize(plot.place); });
      });
    });
  });
  View.onChange(function () { all.forEach(function (figure) { figure.again(); }); });
  addEventListener("beforeprint", function () {
    if (window.Plotly) all.forEach(function (figure) { figure.plots.forEach(figure.draw); });
  });
  reached("usable"); /* all that a reader can press does something */
});
})(document.currentScript);
