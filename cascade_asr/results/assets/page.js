"use strict";
(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const byId = (id) => document.getElementById(id);
  const names = record.trainings.map((each) => each.name);
  const PALETTE = ["#2f7fc1", "#d9722e", "#3a9d63", "#a05cb5", "#c2a11c", "#4aa7b5", "#c44e6c", "#7d7f86"];
  const colourOf = (name) => PALETTE[Math.max(names.indexOf(name), 0) % PALETTE.length];
  const unique = (list) => [...new Set(list)];
  let charts = [];

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  function drawn(tag, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- light and dark
  let redrawSamples = null, details = null;
  const system = matchMedia("(prefers-color-scheme: dark)");
  function paint(theme) {
    document.documentElement.dataset.theme = theme;
    drawCharts();
  }
  byId("theme").addEventListener("click", () =>
    paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  system.addEventListener("change", () => paint(system.matches ? "dark" : "light"));

  // ---- charts
  const whiskers = {
    id: "whiskers",
    afterDatasetsDraw(chart) {
      const context = chart.ctx;
      chart.data.datasets.forEach((dataset, number) => {
        if (!dataset.ends || !chart.isDatasetVisible(number)) return;
        context.save();
        context.strokeStyle = css("--fg");
        context.fillStyle = css("--fg");
        context.lineWidth = 1.5;
        chart.getDatasetMeta(number).data.forEach((bar, index) => {
          const ends = dataset.ends[index];
          if (!ends || ends[0] === null) return;
          const [left, right] = ends.map((value) => chart.scales.x.getPixelForValue(value));
          context.beginPath();
          context.moveTo(left, bar.y); context.lineTo(right, bar.y);
          for (const x of [left, right]) { context.moveTo(x, bar.y - 3); context.lineTo(x, bar.y + 3); }
          context.stroke();
        });
        context.restore();
      });
    },
  };
  const forestMarks = {
    id: "forestMarks",
    afterDatasetsDraw(chart) {
      const { ctx: context, scales: { x }, chartArea } = chart;
      context.save();
      context.strokeStyle = css("--muted");
      context.setLineDash([4, 3]);
      context.beginPath();
      context.moveTo(x.getPixelForValue(0), chartArea.top);
      context.lineTo(x.getPixelForValue(0), chartArea.bottom);
      context.stroke();
      const dataset = chart.data.datasets[0];
      chart.getDatasetMeta(0).data.forEach((bar, index) => {
        context.fillStyle = dataset.backgroundColor[index];
        context.fillRect(x.getPixelForValue(dataset.middles[index]) - 5, bar.y - 5, 10, 10);
      });
      context.restore();
    },
  };

  function chartIn(box, description, configuration, height) {
    if (height) box.style.height = `${height}px`;
    const canvas = element("canvas", { role: "img", "aria-label": description });
    box.replaceChildren(canvas);
    const options = configuration.options;
    Object.assign(options, { responsive: true, maintainAspectRatio: false, animation: false });
    const chart = new Chart(canvas, configuration);
    charts.push([box, chart]);
    return chart;
  }
  function axis(title, more = {}) {
    return { title: { display: !!title, text: title }, grid: { color: css("--line") }, ...more };
  }
  function forget(box) {
    charts = charts.filter(([other, chart]) => {
      if (other !== box) return true;
      chart.destroy();
      return false;
    });
  }
  const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const tick = (list) => ({ callback: (_, index) => shortened(list[index], innerWidth < 600 ? 18 : 40) });

  function drawBars() {
    const box = byId("bars");
    box.replaceChildren();
    for (const metric of unique(record.values.map((each) => each.metric))) {
      const values = record.values.filter((each) => each.metric === metric);
      const sets = unique(values.map((each) => each.set));
      const rows = names.filter((name) => values.some((each) => each.training === name));
      const find = (name, set) => values.find((each) => each.training === name && each.set === set);
      const percent = metric === "WER" || metric === "CER" ? " %" : "";
      const inside = element("div", { class: "chart" });
      box.append(element("figure", {}, inside, element("figcaption", {}, `${metric}${percent}`
        + (values.some((each) => each.low !== null) ? ", with 95 % intervals" : ""))));
      chartIn(inside, `${metric} of every training and set`, {
        type: "bar",
        data: {
          labels: rows,
          datasets: sets.map((set, number) => ({
            label: set,
            data: rows.map((name) => find(name, set)?.value ?? null),
            ends: rows.map((name) => { const each = find(name, set); return each && [each.low, each.high]; }),
            backgroundColor: PALETTE[number % PALETTE.length],
          })),
        },
        options: {
          indexAxis: "y",
          scales: {
            x: axis("", { beginAtZero: true,
              suggestedMax: Math.max(...values.map((each) => each.high ?? each.value)) }),
            y: axis("", { ticks: { ...tick(rows), autoSkip: false } }),
          },
          plugins: { legend: { display: true }, tooltip: { callbacks: { label(item) {
            const each = find(rows[item.dataIndex], sets[item.datasetIndex]);
            const spread = each.low === null ? "" : ` (${each.low.toFixed(2)} to ${each.high.toFixed(2)})`;
            return `${each.set}: ${each.value.toFixed(2)}${percent}${spread}`;
          } } } },
        },
        plugins: [whiskers],
      }, 90 + rows.length * (sets.length * 16 + 10));
    }
  }

  function drawForest() {
    const box = byId("forest");
    const all = record.differences;
    if (!all.length) { box.parentElement.remove(); return; }
    const rows = all.map((each) => `${each.training} − ${each.against}, ${each.set}`);
    const known = all.some((each) => each.low !== null);
    const margin = 0.1 * Math.max(...all.flatMap((each) => [each.low, each.high, each.difference].map(Math.abs)));
    const colour = (each) => (each.significant === false ? css("--muted")
      : each.difference < 0 ? css("--good") : css("--bad"));
    byId("forest-caption").textContent = `Paired differences of ${unique(all.map((each) => each.metric)).join(", ")}`
      + `${known ? " with 95 % intervals" : ""}: left of 0, the first training is better. `
      + (known ? "Grey: not significant (MAPSSWE). " : "No intervals: only totals were kept.");
    chartIn(box, "paired differences", {
      type: "bar",
      data: { labels: rows, datasets: [{
        data: all.map((each) => [each.low ?? Math.min(each.difference, 0), each.high ?? Math.max(each.difference, 0)]),
        middles: all.map((each) => each.difference),
        backgroundColor: all.map(colour),
        barThickness: 3,
        minBarLength: 2,
      }] },
      options: {
        indexAxis: "y",
        scales: { x: axis("", { suggestedMin: -margin, suggestedMax: margin }),
          y: axis("", { ticks: { ...tick(rows), autoSkip: false } }) },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label(item) {
          const each = all[item.dataIndex];
          const spread = each.low === null ? "" : ` (${each.low.toFixed(2)} to ${each.high.toFixed(2)})`;
          return `${each.difference.toFixed(3)}${spread}${each.p === null ? "" : `, p ${each.p.toFixed(4)}`}`;
        } } } },
      },
      plugins: [forestMarks],
    }, 60 + rows.length * 24);
  }

  function curveMetrics() {
    const found = unique(Object.values(record.curves).flatMap((each) => Object.keys(each)))
      .filter((key) => key.startsWith("dev ")).map((key) => key.slice(4)).sort();
    const first = [record.metric, "loss"].filter((metric) => found.includes(metric));
    return unique([...first, ...found]);
  }
  function line(name, points, dashed) {
    return { label: name, data: points.map(([x, y]) => ({ x, y })), borderColor: colourOf(name),
      backgroundColor: colourOf(name), borderDash: dashed ? [5, 4] : [], borderWidth: dashed ? 1.2 : 2,
      pointRadius: points.length > 60 ? 0 : dashed ? 0 : 2, training: name };
  }
  function lineChart(box, title, datasets) {
    forget(box);
    chartIn(box, title, {
      type: "line",
      data: { datasets },
      options: {
        interaction: { mode: "nearest", intersect: false },
        scales: { x: axis("updates", { type: "linear" }), y: axis(title) },
        plugins: { legend: {
          labels: { filter: (item, data) => data.datasets.findIndex((each) => each.training === data.datasets[item.datasetIndex].training) === item.datasetIndex },
          onClick(_, item, legend) {
            const chart = legend.chart;
            const show = !chart.isDatasetVisible(item.datasetIndex);
            const training = chart.data.datasets[item.datasetIndex].training;
            chart.data.datasets.forEach((each, index) => {
              if (each.training === training) chart.setDatasetVisibility(index, show);
            });
            chart.update();
          },
        }, tooltip: { callbacks: { label: (item) =>
          `${item.dataset.label}${item.dataset.borderDash.length ? " (training)" : ""}: ${Number(item.parsed.y.toPrecision(5))}` } } },
      },
    });
  }
  function drawCurves() {
    const metric = byId("curve-metric").value;
    const sets = [];
    for (const name of names) {
      const lines = record.curves[name] ?? {};
      if (lines[`dev ${metric}`]) sets.push(line(name, lines[`dev ${metric}`], false));
      if (lines[`train ${metric}`]) sets.push(line(name, lines[`train ${metric}`], true));
    }
    lineChart(byId("curve-box"), metric, sets);
    const rates = names.filter((name) => record.curves[name]?.lr)
      .map((name) => line(name, record.curves[name].lr, false));
    if (rates.length) lineChart(byId("rate-box"), "learning rate", rates);
    else byId("rate-box").parentElement.hidden = true;
  }

  // ---- the stages and where each of their layers comes from
  const STATES = { frozen: "frozen, from the source", kept: "from the source, trained on",
    new: "new weights, trained", random: "new weights, frozen" };
  function drawTree() {
    const width = 158, gap = 26, height = 24, top = 34 + 14 * Math.min(names.length, 6);
    const most = Math.max(...record.trainings.map((each) => each.layers.length));
    const place = (index) => 8 + index * (width + gap);
    const bottom = top + 42 + most * (height + 3);
    const svg = drawn("svg", { width: place(names.length), height: bottom + 6, role: "img",
      "aria-label": "which layers each training took over, froze and trained" });
    const marker = drawn("marker", { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7,
      markerHeight: 7, orient: "auto" });
    marker.append(drawn("path", { d: "M0 0L8 4L0 8z", fill: css("--muted") }));
    svg.append(marker);
    record.trainings.forEach((training, index) => {
      const left = place(index);
      const source = names.indexOf(training.source);
      if (source >= 0) {
        const from = place(source) + width / 2 + 8, to = left + width / 2 - 8;
        const high = top - 12 - 14 * Math.min(Math.abs(index - source), 6);
        svg.append(drawn("path", { d: `M${from} ${top - 4}C${from} ${high} ${to} ${high} ${to} ${top - 4}`,
          fill: "none", stroke: css("--muted"), "stroke-width": 1.5, "marker-end": "url(#head)" }));
      }
      const chosen = training.name === record.selected;
      svg.append(drawn("rect", { x: left - 4, y: top, width: width + 8, height: bottom - top, rx: 6,
        fill: chosen ? css("--mark") : css("--card"), stroke: chosen ? css("--good") : css("--line"),
        "stroke-width": chosen ? 2 : 1 }));
      svg.append(drawn("text", { x: left + 2, y: top + 16, "font-weight": 600 },
        `${training.name}${chosen ? " ✓ selected" : ""}`));
      const from = training.source && source < 0 ? `from ${training.source}` : `dev ${training.dev.toFixed(2)}`;
      svg.append(drawn("text", { x: left + 2, y: top + 32, class: "muted" }, shortened(from, 24)));
      [...training.layers].reverse().forEach((layer, row) => {
        const y = top + 40 + row * (height + 3);
        const group = drawn("g", {});
        group.append(drawn("title", {}, `${layer.name}: ${STATES[layer.state]}`));
        group.append(drawn("rect", { x: left, y, width, height, rx: 4, fill: css(`--${layer.state}`) }));
        group.append(drawn("text", { x: left + 6, y: y + 16, class: "layer" },
          `${layer.state === "frozen" || layer.state === "random" ? "❄ " : ""}${shortened(layer.name, 14)} · ${layer.state}`));
        svg.append(group);
      });
    });
    const legend = element("div", { class: "legend" });
    const used = unique(record.trainings.flatMap((each) => each.layers.map((layer) => layer.state)));
    for (const state of used) {
      legend.append(element("span", {}, element("i", { style: `background:${css(`--${state}`)}` }),
        `${state}: ${STATES[state]}`));
    }
    byId("tree").replaceChildren(svg);
    byId("tree").parentElement.querySelector(".legend")?.remove();
    byId("tree").before(legend);
  }

  // ---- tables that are sorted by a click
  function sortable(headers, sort) {
    headers.forEach((header, column) => {
      header.setAttribute("aria-sort", "none");
      header.tabIndex = 0;
      const act = () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        headers.forEach((each) => each.setAttribute("aria-sort", "none"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(column, down ? -1 : 1);
      };
      header.addEventListener("click", act);
      header.addEventListener("keydown", (event) => { if (event.key === "Enter") act(); });
    });
  }
  const collator = new Intl.Collator("en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    sortable([...table.querySelectorAll("th")], (column, sign) => {
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => sign * collator.compare(a.cells[column].textContent.replaceAll(",", ""),
        b.cells[column].textContent.replaceAll(",", "")));
      table.tBodies[0].append(...rows);
    });
  }

  // ---- utterances
  async function unpacked(id) {
    const text = byId(id).textContent.trim();
    if (!text || text.startsWith("{")) return text ? JSON.parse(text) : null;
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }
  function unfolded(alignment, reference, words) {
    const [operations] = alignment;
    const full = alignment.length === 3;
    const expected = full ? alignment[1] : reference;
    const columns = [];
    let row = 0, next = 0;
    for (const operation of operations) {
      const said = operation === "I" ? null : words[expected[row++]];
      let heard = null;
      if (operation === "C" && !full) heard = said;
      else if (operation !== "D") heard = words[(full ? alignment[2] : alignment[1])[next++]];
      columns.push([operation, said, heard]);
    }
    return columns;
  }
  function rowsOf(data, set, a, b) {
    const [first, second] = [a, b].map((name) => data.trainings.indexOf(name));
    return data.sets[set].map(([id, speaker, reference, alignments]) => {
      const one = unfolded(alignments[first], reference, data.words);
      const two = unfolded(alignments[second], reference, data.words);
      const errors = (columns) => columns.filter((each) => each[0] !== "C").length;
      const shown = (columns, at) => columns.map((each) => each[at]).filter((word) => word).join(" ");
      const row = { id, speaker, one, two, words: one.filter((each) => each[0] !== "I").length,
        a: errors(one), b: errors(two) };
      row.change = row.b - row.a;
      row.differs = shown(one, 2) !== shown(two, 2);
      row.text = `${id} ${speaker} ${shown(one, 1)} ${shown(one, 2)} ${shown(two, 2)}`.toLowerCase();
      return row;
    });
  }
  function marked(label, columns) {
    const spans = columns.map(([operation, said, heard]) => {
      if (operation === "C") return heard || said || "";
      if (operation === "S") return element("span", { class: "sub" }, element("del", {}, said), "→", element("ins", {}, heard));
      if (operation === "D") return element("span", { class: "del" }, element("del", {}, said));
      return element("span", { class: "ins" }, element("ins", {}, `+${heard}`));
    });
    const text = element("span");
    spans.forEach((each) => text.append(each, " "));
    return element("div", { class: "line" }, element("b", {}, label), text);
  }
  const FILTERS = { all: () => true, differ: (row) => row.differs, better: (row) => row.change < 0,
    worse: (row) => row.change > 0, wrong: (row) => row.a + row.b > 0 };
  const KEYS = ["id", "speaker", "words", "a", "b", "change"];
  const PAGE = 25;

  function startUtterances(data) {
    choose(byId("set"), Object.keys(data.sets));
    choose(byId("a"), data.trainings, "full");
    const other = record.selected !== "full" ? record.selected : data.trainings[1];
    choose(byId("b"), data.trainings, other ?? data.trainings[0]);
    const titles = ["utterance", "speaker", "words", "errors A", "errors B", "B − A", "alignment"];
    const headers = titles.map((title, index) => element("th", index > 1 && index < 6 ? { class: "number" } : {}, title));
    byId("table").tHead.append(element("tr", {}, ...headers));
    let all = [], shown = [], key = null, sign = 1, page = 0;
    const collect = () => {
      all = rowsOf(data, byId("set").value, byId("a").value, byId("b").value);
      select();
      drawDetails(all);
    };
    const select = () => {
      const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
      const passes = FILTERS[byId("filter").value];
      shown = all.filter((row) => passes(row) && words.every((word) => row.text.includes(word)));
      if (key) shown.sort((x, y) => sign * (typeof x[key] === "number" ? x[key] - y[key] : collator.compare(x[key], y[key])));
      page = 0;
      show();
    };
    const show = () => {
      const last = Math.max(Math.ceil(shown.length / PAGE) - 1, 0);
      const errors = (name) => shown.reduce((sum, row) => sum + row[name], 0);
      byId("count").textContent = `${shown.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} utterances; `
        + `errors of ${byId("a").value}: ${errors("a")}, of ${byId("b").value}: ${errors("b")}`
        + (data.without_correct ? "; utterances that all recognise rightly are left out, to keep this file small" : "")
        + (data.selected_only ? "; so are trainings that no branch selected" : "");
      byId("table").tBodies[0].replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
        const change = element("td", { class: `number ${row.change < 0 ? "down" : row.change > 0 ? "up" : ""}` },
          row.change > 0 ? `+${row.change}` : String(row.change));
        const cells = KEYS.slice(0, 5).map((each, index) =>
          element("td", index > 1 ? { class: "number" } : {}, String(row[each])));
        return element("tr", {}, ...cells, change, element("td", {}, marked("A", row.one), marked("B", row.two)));
      }));
      const back = element("button", { type: "button" }, "‹ before");
      const on = element("button", { type: "button" }, "next ›");
      back.disabled = page === 0;
      on.disabled = page === last;
      back.addEventListener("click", () => { page -= 1; show(); });
      on.addEventListener("click", () => { page += 1; show(); });
      byId("pages").replaceChildren(back, `page ${page + 1} of ${last + 1}`, on);
    };
    sortable(headers.slice(0, 6), (column, direction) => { key = KEYS[column]; sign = direction; select(); });
    for (const id of ["set", "a", "b"]) byId(id).addEventListener("change", collect);
    byId("filter").addEventListener("change", select);
    byId("search").addEventListener("input", select);
    collect();
    details = () => drawDetails(all);
  }

  // ---- confusions, speakers and lengths of the chosen pair
  function drawDetails(rows) {
    drawConfusions(rows);
    const speakers = unique(rows.map((row) => row.speaker)).sort(collator.compare);
    const rate = (group, side) => {
      const words = group.reduce((sum, row) => sum + row.words, 0);
      return words ? (100 * group.reduce((sum, row) => sum + row[side], 0)) / words : null;
    };
    const bySpeaker = speakers.map((speaker) => [speaker, rows.filter((row) => row.speaker === speaker)]);
    bySpeaker.sort((x, y) => (rate(y[1], "a") ?? 0) - (rate(x[1], "a") ?? 0));
    pairBars(byId("speakers"), "WER by speaker", bySpeaker.slice(0, 40), rate);
    byId("speakers").parentElement.querySelector("figcaption").textContent = "WER by speaker (%)"
      + (bySpeaker.length > 40 ? `, the 40 of ${bySpeaker.length} with the highest rate of A` : "");
    const bounds = [0, 1, 2, 3, 5, 8, 12, 18, 27, 40, Infinity];
    const byLength = bounds.slice(1).map((high, index) => {
      const low = bounds[index] + 1;
      const title = high === Infinity ? `${low} or more` : low === high ? `${low}` : `${low} to ${high}`;
      return [title, rows.filter((row) => row.words >= low && row.words <= high)];
    }).filter(([, group]) => group.length);
    pairBars(byId("lengths"), "WER by length", byLength, rate);
    byId("lengths").parentElement.querySelector("figcaption").textContent = "WER (%) by words of the utterance";
  }
  function pairBars(box, title, groups, rate) {
    forget(box);
    const labels = groups.map(([name, group]) => `${name} (${group.length})`);
    const side = (name, key) => ({ label: `${key.toUpperCase()}: ${name}`, data: groups.map(([, group]) => rate(group, key)),
      backgroundColor: key === "a" ? PALETTE[0] : PALETTE[1] });
    chartIn(box, title, {
      type: "bar",
      data: { labels, datasets: [side(byId("a").value, "a"), side(byId("b").value, "b")] },
      options: { indexAxis: "y", scales: { x: axis("", { beginAtZero: true }),
        y: axis("", { ticks: { ...tick(labels), autoSkip: false } }) }, plugins: { legend: { display: true } } },
    }, 80 + groups.length * 30);
  }
  function drawConfusions(rows) {
    const tables = ["S", "D", "I"].map((kind) => {
      const counts = new Map();
      for (const [side, at] of [["one", 0], ["two", 1]]) {
        for (const row of rows) for (const [operation, said, heard] of row[side]) {
          if (operation !== kind) continue;
          const name = kind === "S" ? `${said} → ${heard}` : kind === "D" ? said : heard;
          if (!counts.has(name)) counts.set(name, [0, 0]);
          counts.get(name)[at] += 1;
        }
      }
      const top = [...counts].sort((x, y) => Math.max(...y[1]) - Math.max(...x[1]) || collator.compare(x[0], y[0])).slice(0, 12);
      const title = { S: "substitution", D: "deletion", I: "insertion" }[kind];
      const cells = (list, tag) => element("tr", {}, ...list.map((each) => element(tag, {}, String(each))));
      const body = top.length ? top.map(([name, [a, b]]) => cells([name, a, b], "td")) : [cells(["none", "", ""], "td")];
      return element("div", { class: "wide" }, element("table", {}, element("thead", {}, cells([title, byId("a").value, byId("b").value], "th")),
        element("tbody", {}, ...body)));
    });
    byId("confusions").replaceChildren(...tables);
  }

  // ---- inside the networks
  function choose(select, list, value) {
    select.replaceChildren(...list.map((each) => element("option", { value: each }, each)));
    select.value = list.includes(value) ? value : list[0];
  }
  function heatTable(box, seen, shade, find) {
    const head = element("tr", {}, element("th", {}, "layer"), ...seen.trainings.map((name) => element("th", {}, name)));
    const rows = [...seen.layers].reverse().map((layer) => element("tr", {}, element("td", {}, layer.name),
      ...seen.trainings.map((name, index) => {
        const value = find(layer, index) ?? null;
        const strength = value === null ? 0 : Math.round(55 * Math.min(Math.max(shade(value), 0), 1));
        return element("td", { style: `background:color-mix(in srgb, var(--accent) ${strength}%, var(--bg))` },
          value === null ? "–" : value.toFixed(3));
      })));
    box.replaceChildren(element("table", { class: "heat" }, element("thead", {}, head), element("tbody", {}, ...rows)));
  }
  function startInside() {
    const seen = record.inspection;
    if (!seen) return;
    choose(byId("cka-with"), seen.trainings, "full");
    const drawSimilarity = () => {
      const other = seen.trainings.indexOf(byId("cka-with").value);
      heatTable(byId("cka"), seen, (value) => value, (layer, index) => layer.cka[index][other]);
    };
    const drawDistance = () => heatTable(byId("drift"), seen, (value) => value / 1.5,
      (layer, index) => layer.drift[index][byId("drift-from").value]);
    byId("cka-with").addEventListener("change", drawSimilarity);
    byId("drift-from").addEventListener("change", drawDistance);
    drawSimilarity();
    drawDistance();
  }
  function startSamples(samples) {
    const trainings = Object.keys(samples);
    const utterances = unique(trainings.flatMap((name) => samples[name].map((each) => each.utterance)));
    choose(byId("sample"), utterances);
    choose(byId("sample-a"), trainings, "full");
    choose(byId("sample-b"), trainings, record.selected !== "full" ? record.selected : trainings[1]);
    redrawSamples = () => {
      const figures = ["attention", "ctc"].flatMap((kind) => ["a", "b"].map((side) => {
        const name = byId(`sample-${side}`).value;
        const sample = samples[name].find((each) => each.utterance === byId("sample").value);
        if (!sample || !sample[kind]) return null;
        const canvas = element("canvas", { role: "img", "aria-label": `${kind} of ${name}` });
        const title = kind === "ctc" ? "CTC" : "Attention";
        return [element("figure", {}, canvas, element("figcaption", {}, `${title}, ${side.toUpperCase()}: ${name}`)), canvas, sample, kind];
      })).filter(Boolean);
      byId("drawn").replaceChildren(...figures.map(([figure]) => figure));
      figures.forEach(([, canvas, sample, kind]) => drawMatrix(canvas, sample, kind));
    };
    for (const id of ["sample", "sample-a", "sample-b"]) byId(id).addEventListener("change", redrawSamples);
    addEventListener("resize", () => requestAnimationFrame(redrawSamples));
    redrawSamples();
  }
  function drawMatrix(canvas, sample, kind) {
    const { rows, columns, data } = sample[kind];
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const left = 62, high = Math.max(7, Math.min(16, Math.floor(480 / rows)));
    const width = Math.max(canvas.parentElement.clientWidth - 20, 120), height = rows * high + 20;
    const scale = devicePixelRatio || 1;
    canvas.width = width * scale; canvas.height = height * scale;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const step = (width - left) / columns;
    context.font = `${Math.min(high, 11)}px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let row = 0; row < rows; row++) {
      context.globalAlpha = 1;
      context.fillStyle = css("--fg");
      context.fillText(shortened(sample.tokens[row] ?? "<eos>", 9), left - 5, (row + 0.5) * high);
      context.fillStyle = css("--accent");
      for (let column = 0; column < columns; column++) {
        context.globalAlpha = Math.sqrt(bytes[row * columns + column] / 255);
        context.fillRect(left + column * step, row * high, step + 0.4, high);
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = css("--line");
    context.strokeRect(left, 0, width - left, rows * high);
    if (kind === "ctc" && sample.path) {
      context.strokeStyle = css("--bad");
      sample.path.forEach((row, frame) => {
        if (row < 0) return;
        const column = Math.floor((frame * columns) / sample.frames);
        context.strokeRect(left + column * step, row * high + 0.5, Math.max(step, 2), high - 1);
      });
    }
    context.fillStyle = css("--muted");
    context.textAlign = "left";
    context.fillText("frame 1", left, rows * high + 11);
    context.textAlign = "right";
    context.fillText(String(sample.frames), width, rows * high + 11);
  }

  // ---- all together
  function drawCharts() {
    charts.forEach(([, chart]) => chart.destroy());
    charts = [];
    Chart.defaults.color = css("--fg");
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.plugins.legend.labels.boxWidth = 14;
    drawBars();
    if (byId("forest")) drawForest();
    drawTree();
    drawCurves();
    if (details) details();
    if (redrawSamples) redrawSamples();
  }
  const metrics = curveMetrics();
  byId("curve-metric").replaceChildren(...metrics.map((each) => element("option", { value: each }, each)));
  byId("curve-metric").addEventListener("change", drawCurves);
  if (!metrics.length) byId("curves").hidden = true;
  byId("save-json").addEventListener("click", () => {
    const blob = new Blob([JSON.stringify(record, null, 1)], { type: "application/json" });
    const link = element("a", { href: URL.createObjectURL(blob), download: "report.json" });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  paint(system.matches ? "dark" : "light");
  startInside();
  Promise.all([unpacked("alignments"), unpacked("samples")]).then(([data, samples]) => {
    if (data && data.too_many) {
      byId("utterances").replaceChildren(element("h2", {}, "Utterances"), element("p", {},
        "There are too many alignments for one file; sclite's files have them: see Files."));
    } else if (data && byId("utterances")) startUtterances(data);
    if (samples && byId("drawn")) startSamples(samples);
    document.documentElement.dataset.ready = "true";
  });
})();
