// The charts, each a figure with a title, units on its axes, and a sentence for those who cannot see it.
"use strict";

const COLOURS = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"];
const DAY_MS = 86_400_000;
const dayOf = (ms) => new Date(Math.floor(ms / DAY_MS) * DAY_MS);

/** Draw into a figure; `title` may hold nodes, `said` tells what the chart shows, `swatches` are [[name, colour, "tick" or nothing]]. */
function draw(id, title, note, said, options, swatches = []) {
  const figure = document.getElementById(id);
  const caption = make("figcaption", {}, title, " ", make("small", {}, note));
  if (!options) return figure.replaceChildren(caption, make("p", {class: "empty"}, said));
  const legend = make("div", {class: "legend"}, swatches.map(([name, colour, shape]) => {
    const square = make("i", {class: shape});
    square.style.background = colour;
    return make("span", {}, square, name);
  }));
  const chart = Plot.plot({
    width: Math.max(280, figure.clientWidth),
    height: 230,
    marginLeft: 46,
    marginBottom: 34,
    style: {background: "none", fontSize: "12px", overflow: "visible"},
    ariaLabel: said,
    ...options,
  });
  chart.setAttribute("role", "img");
  figure.replaceChildren(caption, ...(swatches.length > 1 ? [legend] : []), chart);
}

/** The axis of the chosen time, the same for every chart: up to today, so that a night without a run shows; a week at least. */
function overTime() {
  const first = d3.min(page.runs, (run) => run.started_at) ?? page.made_at;
  const from = Math.max(page.made_at - state.days * DAY_MS, Math.min(first - DAY_MS, page.made_at - 6 * DAY_MS));
  return {type: "utc", label: null, grid: false, ticks: 6, domain: [dayOf(from), new Date(+dayOf(page.made_at) + DAY_MS)]};
}

const count = (label, most = 4) => ({label, grid: true, ticks: Math.max(1, Math.min(4, most)), labelArrow: "none", tickFormat: "~s", nice: true, labelAnchor: "top"});

function drawFiles(runs) {
  const kinds = [["new", "var(--c1)"], ["duplicate", "var(--soft)"], ["rejected", "var(--c2)"], ["failed", "var(--failed)"]];
  const rows = runs.filter((run) => run.flow === "ingest").flatMap((run) =>
    kinds.map(([kind]) => ({day: dayOf(run.started_at), kind, files: run[`files_${kind}`]})).filter((row) => row.files));
  const note = "files a day, those that were unchanged left out";
  if (!rows.length) return draw("c-files", "What came in", note, "No file came in during this time.");
  draw("c-files", "What came in", note, "Bars of the files that came in each day: new, duplicate, rejected and failed.", {
    x: overTime(),
    y: count("files"),
    color: {domain: kinds.map(([kind]) => kind), range: kinds.map(([, colour]) => colour)},
    marks: [
      Plot.rectY(rows, Plot.stackY({order: kinds.map(([kind]) => kind)}, Plot.groupX({y: "sum"}, {x: "day", y: "files", fill: "kind", interval: "day", insetLeft: 1, insetRight: 1}))),
      Plot.ruleY([0], {stroke: "var(--line)"}),
      Plot.tip(rows, Plot.pointerX(Plot.groupX({y: "sum", title: (group) => `${group[0].day.toISOString().slice(0, 10)}\n` + kinds.map(([kind]) => `${d3.sum(group, (row) => (row.kind === kind ? row.files : 0))} ${kind}`).join("\n")}, {x: "day", y: "files", title: (row) => row}))),
    ],
  }, kinds);
}

function drawSpeed(rows, corpora) {
  const note = "hours of audio in an hour, each dot a run";
  if (!rows.length) return draw("c-speed", "How fast", note, "No track was analysed during this time.");
  const named = rows.map((row) => ({...row, corpus: row.corpora.join(" + "), at: new Date(row.started_at)}));
  const names = [...new Set(named.map((row) => row.corpus))].sort();
  const range = names.map((_, place) => COLOURS[place % COLOURS.length]);
  draw("c-speed", "How fast", note, "The speed of each run in times real time.", {
    x: overTime(),
    y: {...count("× real time"), zero: true},
    color: {domain: names, range},
    marks: [
      Plot.ruleY([0], {stroke: "var(--line)"}),
      Plot.lineY(named, {x: "at", y: "realtime_ratio", stroke: "corpus", strokeWidth: 1.2, strokeOpacity: 0.5}),
      Plot.dot(named, {x: "at", y: "realtime_ratio", fill: "corpus", r: 3}),
      Plot.tip(named, Plot.pointer({x: "at", y: "realtime_ratio", title: (row) => `${row.corpus}, ${format.time(row.started_at)}\n${format.ratio(row.realtime_ratio)} real time\n${format.count(row.tracks)} tracks, ${format.number(row.audio_h)} h\n${row.relative_speed == null ? "the first of its kind" : `${format.percent(row.relative_speed)} of the usual speed`}`})),
    ],
  }, names.slice(0, 6).map((name, place) => [name, range[place]]));
}

function drawFailures(rows) {
  const sums = d3.rollups(rows, (group) => ({files: d3.sum(group, (row) => row.files), verdict: group[0].verdict}), (row) => row.reason)
    .map(([reason, sum]) => ({reason, ...sum})).sort((a, b) => b.files - a.files);
  if (!sums.length) return draw("c-failures", "Files by reason", "", "No file was left out during this time.");
  draw("c-failures", "Files by reason", "as tried last", "Bars of the files that are not in the lake, by reason.", {
    height: 46 + 30 * sums.length,
    marginLeft: 118,
    marginRight: 40,
    x: {...count("files", sums[0].files), labelAnchor: "right"},
    y: {label: null, domain: sums.map((row) => row.reason), tickSize: 0, tickFormat: format.name},
    color: {domain: ["rejected", "failed"], range: ["var(--c2)", "var(--failed)"]},
    marks: [
      Plot.barX(sums, {x: "files", y: "reason", fill: "verdict", insetTop: 3, insetBottom: 3}),
      Plot.text(sums, {x: "files", y: "reason", text: (row) => format.count(row.files), dx: 6, textAnchor: "start", fill: "var(--ink)"}),
    ],
  }, [["the file is at fault", "var(--c2)"], ["the analysis failed", "var(--failed)"]]);
}

function drawStages(rows, runs) {
  const note = "seconds of work for an hour of audio, by day";
  if (!rows.length) return draw("c-stages", "Work by stage", note, "No track was analysed during this time.");
  const biggest = d3.rollups(rows, (group) => d3.sum(group, (row) => row.seconds), (row) => row.stage)
    .sort((a, b) => b[1] - a[1]).slice(0, 5).map(([stage]) => stage);
  const stages = [...biggest, "others"];
  const work = rows.map((row) => ({...row, day: dayOf(runs[row.run_id].started_at), shown: biggest.includes(row.stage) ? row.stage : "others"}));
  const perDay = d3.groups(work, (row) => +row.day).flatMap(([, group]) => {
    const audioHours = d3.sum(group.filter((row) => row.stage === biggest[0]), (row) => row.seconds / row.seconds_per_audio_hour);
    return d3.rollups(group, (some) => d3.sum(some, (row) => row.seconds) / audioHours, (row) => row.shown)
      .map(([stage, seconds]) => ({day: group[0].day, stage, seconds}));
  });
  draw("c-stages", "Work by stage", note, "Bars of the seconds that each stage takes for an hour of audio, day by day.", {
    height: 260,
    x: overTime(),
    y: count("seconds"),
    color: {domain: stages, range: COLOURS},
    marks: [
      Plot.rectY(perDay, Plot.stackY({order: stages}, {x: "day", y: "seconds", fill: "stage", interval: "day", insetLeft: 1, insetRight: 1})),
      Plot.ruleY([0], {stroke: "var(--line)"}),
      Plot.tip(perDay, Plot.pointerX(Plot.groupX({y: "sum", title: (group) => `${group[0].day.toISOString().slice(0, 10)}\n` + stages.map((stage) => `${format.number(d3.sum(group, (row) => (row.stage === stage ? row.seconds : 0)), 0)} s ${stage}`).join("\n")}, {x: "day", y: "seconds", title: (row) => row}))),
    ],
  }, stages.map((stage, place) => [stage, COLOURS[place]]));
}

function drawDrift(rows) {
  const note = "PSI over its alarm limit, each dot a measure of a run";
  if (!rows.length) return draw("c-drift", "How much has changed", note, "Nothing to compare yet: drift needs two runs of a corpus.");
  const dots = rows.map((row) => ({...row, at: new Date(row.started_at), ratio: row.psi / Math.max(0.25, row.psi_by_chance)}));
  draw("c-drift", "How much has changed", note, `The drift of every measure against its limit; ${rows.filter((row) => row.drifted).length} are above it.`, {
    x: overTime(),
    y: {...count("× limit"), type: "sqrt", domain: [0, Math.max(1.2, d3.max(dots, (row) => row.ratio))]},
    marks: [
      Plot.ruleY([0], {stroke: "var(--line)"}),
      Plot.ruleY([1], {stroke: "var(--bad)", strokeDasharray: "3 3"}),
      Plot.text([1], {y: 1, frameAnchor: "right", text: () => "alarm above this", dy: -7, fill: "var(--bad)"}),
      Plot.dot(dots, {x: "at", y: "ratio", r: (row) => (row.drifted ? 5 : 2), fill: (row) => (row.drifted ? "var(--bad)" : "var(--c6)")}),
      Plot.text(dots.filter((row) => row.drifted), {x: "at", y: "ratio", text: (row) => `${format.name(row.measure)}, ${row.corpus}`, dx: -9, textAnchor: "end", fill: "var(--ink)"}),
      Plot.tip(dots, Plot.pointer({x: "at", y: "ratio", title: (row) => `${format.name(row.measure)}, ${row.corpus}, ${format.time(row.started_at)}\nPSI ${format.number(row.psi, 2)} over ${row.tracks} tracks, ${row.tracks_before} before\nmost changed: ${row.most_changed_value}, ${format.percent(row.share_before)} → ${format.percent(row.share)}`})),
    ],
    r: {type: "identity"},
    color: {type: "identity"},
  });
}

/** Bars: the newest run of each corpus; ticks: the other runs of the period. */
function drawValues(rows, runs, measure, choose) {
  const note = "";
  const groups = d3.groups(rows.filter((row) => row.measure === measure), (row) => row.corpus).flatMap(([corpus, found]) => {
    const newest = d3.greatest(found, (row) => runs[row.run_id].started_at).run_id;
    const total = {now: 0, before: 0}, values = new Map();
    for (const row of found) {
      const side = row.run_id === newest ? "now" : "before";
      const value = values.get(row.value) ?? {corpus, value: row.value, place: row.place, now: 0, before: 0};
      value[side] += row.tracks;
      total[side] += row.tracks;
      values.set(row.value, value);
    }
    return [...values.values()].map((value) => ({...value, now: value.now / total.now, before: total.before ? value.before / total.before : null}));
  });
  if (!groups.length) return draw("c-values", choose, note, "No track was analysed during this time.");
  const order = d3.groupSort(groups, (group) => group[0].value === "none" ? Infinity : group[0].place ?? -d3.sum(group, (row) => row.before + row.now), (row) => row.value);
  const corpora = new Set(groups.map((row) => row.corpus)).size;
  draw("c-values", choose, note, `The distribution of ${format.name(measure)} in each corpus.`, {
    height: Math.max(230, 40 + corpora * (26 + 15 * order.length)),
    marginLeft: 104,
    marginRight: 76,
    x: {label: "share of the tracks", percent: true, grid: true, ticks: 4, labelArrow: "none", nice: true, tickFormat: (value) => `${value} %`},
    y: {label: null, domain: order, tickSize: 0},
    fy: {label: null, padding: 0.12},
    marks: [
      Plot.barX(groups, {x: "now", y: "value", fy: "corpus", fill: "var(--c1)", fillOpacity: 0.75, insetTop: 1.5, insetBottom: 1.5}),
      Plot.tickX(groups.filter((row) => row.before != null), {x: "before", y: "value", fy: "corpus", stroke: "var(--usual)", strokeWidth: 2}),
      Plot.ruleX([0], {stroke: "var(--line)"}),
    ],
  }, [["the newest run", "var(--c1)"], ["the runs of this time before it", "var(--usual)", "tick"]]);
}

function drawStorage(storage, kinds) {
  const unknown = d3.sum(kinds, (row) => row.files_without_size);
  const note = `each table (MIDI is in patterns), and the files beside them; of a dozen, the biggest${unknown ? `; ${format.count(unknown)} files of an older version have no size` : ""}`;
  if (!storage.length) return draw("c-storage", "Space", note, "No file has been committed yet.");
  const sum = (rows, name) => d3.rollups(rows, (group) => d3.sum(group, (row) => row.size_bytes), (row) => row[name]);
  const beside = sum(kinds.filter((row) => row.kind !== "tables"), "kind").map(([kind, bytes]) => [{stems: "stems (audio)"}[kind] ?? kind, bytes, "beside"]);
  const tables = sum(storage, "table_name").map(([name, bytes]) => [name, bytes, "table"]);
  const shown = [...beside, ...tables].sort((a, b) => b[1] - a[1]).slice(0, 12);
  draw("c-storage", "Space", note, "Bars of the space that each table, the stems and the search indexes take.", {
    height: 46 + 24 * shown.length,
    marginLeft: 140,
    marginRight: 64,
    x: {label: null, axis: null},
    y: {label: null, domain: shown.map(([name]) => name), tickSize: 0},
    color: {domain: ["table", "beside"], range: ["var(--c1)", "var(--c2)"]},
    marks: [
      Plot.barX(shown, {x: "1", y: "0", fill: "2", fillOpacity: 0.75, insetTop: 3, insetBottom: 3}),
      Plot.text(shown, {x: "1", y: "0", text: (row) => format.bytes(row[1]), dx: 6, textAnchor: "start", fill: "var(--ink)"}),
    ],
  }, [["Parquet files of a table", "var(--c1)"], ["audio and indexes", "var(--c2)"]]);
}
