// Ages, countdowns, the live stream and the charts. Pages work without it, except what is live.
"use strict";
(() => {
  const body = document.body.dataset;
  const all = (selector) => document.querySelectorAll(selector);
  const digits = [...body.digits];
  const own = (text) => String(text).replace(/[0-9]/g, (one) => digits[one]);
  const speed = Number(body.speed);
  // server clock minus ours; refreshed by every live event
  let offset = Number(body.wall) - Date.now();
  const wallNow = () => Date.now() + offset;

  // ---- ages and countdowns -------------------------------------------------------------------
  const walls = {};
  function ageText(seconds) {
    if (seconds < 90) return body.agoSeconds.replace("#", own(seconds));
    if (seconds < 5400) return body.agoMinutes.replace("#", own(Math.floor(seconds / 60)));
    return body.agoHours.replace("#", own(Math.floor(seconds / 3600)));
  }
  function learnAges() {
    all("[data-age][data-seconds]").forEach((mark) => {
      const wall = Number(body.wall) - Number(mark.dataset.seconds) * 1000;
      walls[mark.dataset.age] = Math.max(walls[mark.dataset.age] || 0, wall);
    });
  }
  function showAges() {
    all("[data-age]").forEach((mark) => {
      const wall = walls[mark.dataset.age];
      if (!wall) return;
      const seconds = Math.max(0, Math.floor((wallNow() - wall) / 1000));
      mark.dataset.shade = seconds <= 30 ? "fresh" : seconds <= 300 ? "late" : "old";
      mark.querySelector(".words").textContent = ageText(seconds);
    });
    const reading = document.querySelector('[data-age="reading"]');
    const number = document.getElementById("live-power");
    if (reading && number) number.classList.toggle("stale", reading.dataset.shade === "old");
  }
  function showCountdowns() {
    all("[data-deadline-wall]").forEach((mark) => {
      const left = Math.max(0, ((Number(mark.dataset.deadlineWall) - wallNow()) / 1000) * speed);
      const minutes = Math.floor(left / 60);
      const days = Math.floor(minutes / 1440), hours = Math.floor(minutes / 60) % 24;
      const form = days ? body.spanDays : hours ? body.spanHours : body.spanMinutes;
      mark.textContent = form.replace("#d", own(days)).replace("#h", own(hours)).replace("#m", own(minutes % 60));
    });
  }
  learnAges();
  setInterval(() => { showAges(); showCountdowns(); }, 1000);
  showAges();
  showCountdowns();

  // ---- the live stream: one per browser ------------------------------------------------------
  const seat = document.querySelector("[data-point]");
  let paused = false, lastWall = 0;
  const trace = { x: [], y: [] };

  function draw(event) {
    offset = event.now - Date.now();
    walls[event.k] = event.wall;
    if (paused) return;
    for (const [name, text] of Object.entries(event.text)) {
      all(`[data-text="${name}"]`).forEach((mark) => { mark.textContent = text; });
    }
    if (event.k === "reading") drawReading(event);
    if (event.k === "balance") {
      all('[data-text="balance"]').forEach((mark) => mark.classList.toggle("negative", event.micros < 0));
    }
    if (event.k === "supply") {
      all('[data-live="supply"], .hero').forEach((mark) => { mark.dataset.state = event.state; });
    }
    showAges();
  }
  function drawReading(event) {
    const number = document.getElementById("live-power");
    if (number) {
      // the first value may be one the broker kept; only news tells how far behind the page is
      if (lastWall && event.wall !== lastWall) number.dataset.lagMs = String(Math.max(0, wallNow() - event.wall));
      number.dataset.wallMs = String(event.wall);
      number.dataset.registerWh = String(event.wh);
      if (event.w !== undefined) number.dataset.watts = String(event.w);
    }
    if (event.w !== undefined && event.wall !== lastWall) {
      trace.x.push(event.wall / 1000);
      trace.y.push(event.w / 1000);
      if (trace.x.length > 180) { trace.x.shift(); trace.y.shift(); }
      drawTrace();
    }
    lastWall = event.wall;
  }

  function follow(point) {
    const channel = new BroadcastChannel(`live:${point}`);
    channel.onmessage = (message) => draw(message.data);
    let cancel = null, hiddenSince = 0;
    function lead() {
      if (cancel) return;
      const control = new AbortController();
      cancel = () => { control.abort(); cancel = null; };
      navigator.locks.request(`live:${point}`, { signal: control.signal }, () => new Promise((release) => {
        let source = null, again = 0, wait = 2000;
        function open() {
          source = new EventSource(`/live?point=${encodeURIComponent(point)}`);
          source.onopen = () => { wait = 2000; };
          source.onmessage = (message) => {
            const event = JSON.parse(message.data);
            draw(event);
            channel.postMessage(event);
          };
          // the browser reconnects a broken stream by itself, but gives up on a refused one
          source.onerror = () => {
            if (source.readyState !== EventSource.CLOSED) return;
            again = setTimeout(open, wait * (0.75 + Math.random() / 2));
            wait = Math.min(wait * 2, 60000);
          };
        }
        open();
        cancel = () => { clearTimeout(again); source.close(); release(); cancel = null; };
      })).catch(() => {});
    }
    setInterval(() => {
      if (!document.hidden) { hiddenSince = 0; lead(); return; }
      hiddenSince = hiddenSince || Date.now();
      if (Date.now() - hiddenSince > 60000 && cancel) cancel();
    }, 1000);
    lead();
  }
  if (seat && seat.dataset.point && "EventSource" in window) follow(seat.dataset.point);

  const pause = document.getElementById("live-pause");
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
    });
  }
  const said = document.getElementById("live-said");
  if (said) {
    setInterval(() => {
      if (paused || document.hidden) return;
      const text = (name) => (document.querySelector(`[data-text="${name}"]`) || {}).textContent || "";
      said.textContent = said.dataset.form.replace("#p", text("power")).replace("#b", text("balance"));
    }, 30000);
  }

  // ---- charts ---------------------------------------------------------------------------------
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let tracePlot = null;
  function drawTrace() {
    const place = document.getElementById("trace");
    if (!place || !window.uPlot || trace.x.length < 2) return;
    const size = { width: place.clientWidth, height: place.clientHeight };
    if (!tracePlot) {
      tracePlot = new uPlot({
        ...size, padding: [6, 0, 0, 0], cursor: { show: false }, legend: { show: false }, select: { show: false },
        scales: { x: { time: false }, y: { range: (_, least, most) => [0, Math.max(0.2, most * 1.15)] } },
        axes: [{ show: false }, { show: false }],
        series: [{}, { stroke: colour("--hero-line"), width: 2, fill: "rgba(127,240,195,.18)", points: { show: false } }],
      }, [trace.x, trace.y], place);
    } else {
      tracePlot.setData([trace.x, trace.y]);
    }
  }

  const charts = new Map();
  function rowsOf(table) {
    return [...table.querySelectorAll("tbody tr[data-wh]")].map((row) => ({
      wh: Number(row.dataset.wh), label: row.dataset.label, said: row.dataset.said,
      measured: row.dataset.quality !== "estimated",
    })).reverse();
  }
  function decimals(places) {
    const most = Math.max(...places);
    const count = most >= 10 ? 0 : most >= 2 ? 1 : 2;
    return places.map((value) => own(value.toFixed(count).replace(".", body.mark)));
  }
  function drawChart(place) {
    const table = document.getElementById(place.dataset.rows);
    if (!table || !window.uPlot) return;
    const rows = rowsOf(table);
    const stamp = JSON.stringify([rows, place.clientWidth]);
    const known = charts.get(place);
    if (known && known.stamp === stamp) return;
    if (known) known.plot.destroy();
    if (!rows.length) { charts.delete(place); return; }
    const x = rows.map((_, index) => index);
    const only = (wanted) => rows.map((row) => (row.measured === wanted ? row.wh / 1000 : null));
    const bars = uPlot.paths.bars({ size: [0.72, 40], radius: 0.25 });
    const ink = colour("--soft"), line = colour("--line");
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const note = document.getElementById(place.dataset.note);
    const say = (index) => { if (note && rows[index]) note.textContent = rows[index].said; };
    const plot = new uPlot({
      width: place.clientWidth, height: 220, legend: { show: false }, padding: [10, 4, 0, 0],
      scales: { x: { time: false, range: [-0.6, rows.length - 0.4] }, y: { range: (_, least, most) => [0, Math.max(0.1, most * 1.1)] } },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      hooks: { setCursor: [(self) => { if (self.cursor.idx !== null && self.cursor.idx !== undefined) say(self.cursor.idx); }] },
      axes: [
        { stroke: ink, font, grid: { show: false }, ticks: { show: false }, space: 84,
          splits: (self, axis, least, most, step) => {
            const each = Math.max(1, Math.ceil(rows.length / Math.max(2, Math.floor(self.bbox.width / devicePixelRatio / 92))));
            return x.filter((index) => (index - Math.floor(each / 2)) % each === 0);
          },
          values: (_, places) => places.map((index) => (rows[index] ? rows[index].label : "")) },
        { stroke: ink, font, size: 46, grid: { stroke: line, width: 1 }, ticks: { show: false },
          values: (_, places) => decimals(places) },
      ],
      series: [{},
        { stroke: colour("--chart"), fill: colour("--chart"), width: 0, paths: bars, points: { show: false } },
        { stroke: colour("--chart-est"), fill: colour("--chart-est") + "66", width: 1, paths: bars, points: { show: false } }],
    }, [x, only(true), only(false)], place);
    charts.set(place, { plot, stamp });
    if (!place.dataset.keys) {
      place.dataset.keys = "on";
      let at = rows.length - 1;
      place.addEventListener("keydown", (key) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[key.key];
        if (!step) return;
        key.preventDefault();
        const current = charts.get(place);
        at = Math.min(Math.max(0, at + step), current.plot.data[0].length - 1);
        current.plot.setCursor({ left: current.plot.valToPos(at, "x"), top: 10 });
      });
    }
  }
  const drawCharts = () => all(".chart[data-rows]").forEach(drawChart);
  drawCharts();
  document.addEventListener("htmx:after:swap", () => { learnAges(); showAges(); showCountdowns(); drawCharts(); });
  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      drawCharts();
      const place = document.getElementById("trace");
      if (tracePlot) tracePlot.setSize({ width: place.clientWidth, height: place.clientHeight });
    }, 150);
  });

  // ---- bars that the server drew: point at one, or walk with the arrow keys --------------------
  function mark(figure, box) {
    figure.querySelectorAll(".marked").forEach((one) => one.classList.remove("marked"));
    box.classList.add("marked");
    figure.querySelector(".chart-note").textContent = box.dataset.said;
  }
  document.addEventListener("pointerover", (over) => {
    const box = over.target.closest(".bars rect[data-said]");
    if (box) mark(box.closest(".bars"), box);
  });
  document.addEventListener("keydown", (key) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key.key];
    const figure = step && key.target.closest && key.target.closest(".bars");
    if (!figure) return;
    key.preventDefault();
    const boxes = [...figure.querySelectorAll("rect[data-said]")];
    const at = boxes.findIndex((one) => one.classList.contains("marked"));
    const next = at < 0 ? boxes.length - 1 : Math.min(Math.max(0, at + step), boxes.length - 1);
    mark(figure, boxes[next]);
  });

  // ---- small helps ----------------------------------------------------------------------------
  document.addEventListener("click", (click) => {
    all("details.menu[open]").forEach((menu) => { if (!menu.contains(click.target)) menu.open = false; });
  });
  document.addEventListener("submit", (submit) => {
    // a double click must not send twice; the server's key would catch it, the eye should too
    const form = submit.target;
    if (form.dataset.sent) { submit.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 4000);
  });
})();
