// What is on the page: the panels, the filters, and keeping both up to date.
"use strict";

const LIVE_S = 5, IDLE_S = 20; // between looks at the lake while an ingest runs, and otherwise
const MOST_SERVED_MIN = 5, MOST_FILE_DAYS = 2; // before a page is called old
const served = location.protocol.startsWith("http");
let state = {corpus: "", days: 30, measure: "tempo_bpm", price: 0.05, ...remembered()};
let page = read(JSON.parse(document.getElementById("panels").textContent));

/** Turn columns and rows into objects. */
function read(raw) {
  const panels = Object.fromEntries(Object.entries(raw.panels).map(([name, {columns, rows}]) =>
    [name, rows.map((row) => Object.fromEntries(columns.map((column, place) => [column, row[place]])))]));
  return {...raw, ...panels};
}

/** The rows of a panel within the chosen period and corpus. */
function chosen() {
  const since = page.made_at - state.days * DAY_MS;
  const inTime = (ms) => ms == null || ms >= since;
  const here = (corpus) => !state.corpus || corpus === state.corpus;
  const ofRun = (row) => row.run_id != null && inTime(page.runs[row.run_id].started_at);
  const among = (corpora) => !state.corpus || corpora.includes(state.corpus);
  return {
    alarms: page.alarms.filter((row) => here(row.corpus) || row.corpus == null),
    runs: page.runs.filter((row) => inTime(row.started_at) && (among(row.corpora) || !row.corpora.length)),
    throughput: page.throughput.filter((row) => inTime(row.started_at) && among(row.corpora)),
    stages: page.stages.filter((row) => ofRun(row) && row.corpus === (state.corpus || null)),
    failures: page.failures.filter((row) => inTime(row.last_at) && here(row.corpus)),
    files: page.files.filter((row) => inTime(row.rejected_at) && here(row.corpus)),
    retries: page.retries.filter((row) => here(row.corpus)),
    freshness: page.freshness.filter((row) => here(row.corpus)),
    duplicates: page.duplicates.filter((row) => here(row.corpus)),
    drift: page.drift.filter((row) => ofRun(row) && here(row.corpus)),
    distributions: page.distributions.filter((row) => ofRun(row) && here(row.corpus)),
    storage: page.storage.filter((row) => here(row.corpus)),
    kinds: page.kinds.filter((row) => here(row.corpus)),
    cost: page.cost.filter(ofRun),
  };
}

const SECTIONS = {"failed files": "h-failures", "slow stage": "h-stages", drift: "h-drift", "stale index": "h-index", "poor index": "h-index"};

function showStatus({alarms, runs}) {
  if (!page.runs.length && !page.freshness.length) return showStart();
  const open = [...tellAge(), ...alarms.filter((row) => row.is_open)];
  const wrong = open.filter((row) => row.severity === "alarm").length;
  const hints = open.length - wrong;
  const verdict = wrong ? `${wrong} ${wrong === 1 ? "thing is" : "things are"} wrong` : hints ? `No alarm, and ${hints} ${hints === 1 ? "warning" : "warnings"}` : "All good";
  const ingests = runs.filter((run) => run.flow === "ingest");
  const newest = ingests.length ? ingests[0].started_at : null;
  const last = ingests.filter((run) => newest - run.started_at < DAY_MS / 2);
  const sum = (kind) => format.count(d3.sum(last, (run) => run[`files_${kind}`]));
  const nightly = page.runs.find((run) => run.flow === "nightly");
  const parts = [
    last.length ? `The last ${last.length === 1 ? "ingest" : `${last.length} ingests`}, ${format.ago(newest, page.made_at)}: ${sum("seen")} files seen, ${sum("new")} new with ${format.number(d3.sum(last, (run) => run.audio_h))} h of audio, ${sum("rejected")} rejected, ${sum("failed")} failed.` : "No ingest in this time.",
    nightly ? `Nightly ${nightly.state} ${format.ago(nightly.ended_at ?? nightly.started_at, page.made_at)}.` : "Nightly has not run in this time.",
  ];
  const kind = (row) => make("b", {}, row.severity === "alarm" ? "▲ " : "◆ ", make("a", {href: `#${SECTIONS[row.kind] ?? "h-runs"}`}, row.kind));
  const item = (row) => make("li", {class: row.severity}, kind(row), make("span", {}, row.message), make("time", {}, format.time(row.raised_at)));
  const past = alarms.filter((row) => !row.is_open && row.raised_at >= page.made_at - state.days * DAY_MS);
  fill(
    "status",
    make("h1", {class: wrong ? "bad" : hints ? "warn" : "good"}, verdict),
    make("p", {class: "quiet"}, parts.join(" ")),
    open.length ? make("ul", {class: "alarms"}, open.map(item)) : null,
    past.length ? make("details", {}, make("summary", {}, `${format.count(past.length)} earlier, closed by a later run`), make("ul", {class: "alarms"}, past.map(item))) : null,
  );
}

/** What a lake says before its first run. */
function showStart() {
  fill(
    "status",
    make("h1", {}, "Nothing has been ingested yet"),
    make("p", {class: "quiet"}, "Bring in a folder of music, then group its songs and build the search index:"),
    make("p", {}, make("code", {}, "midime ingest ~/music")),
    make("p", {}, make("code", {}, "midime nightly")),
  );
}

/** A page that is older than it should be says so before anything else. */
function tellAge() {
  const age = Date.now() - page.made_at;
  if (age < (served ? MOST_SERVED_MIN * 60_000 : MOST_FILE_DAYS * DAY_MS)) return [];
  const message = served
    ? `The server of this page does not answer. What follows is how things stood ${format.ago(page.made_at, Date.now())}.`
    : `This page was written ${format.ago(page.made_at, Date.now())}; every run writes it anew. Has there been none since?`;
  return [{kind: "old page", severity: "alarm", message, raised_at: page.made_at}];
}

function showRunning() {
  document.getElementById("running").hidden = !page.running.length;
  fill("running", page.running.map((run) => {
    const done = run.tracks_analysed + run.tracks_given_up;
    const corpora = run.run_id == null ? "" : page.runs[run.run_id].corpora.join(", ");
    const end = run.expected_end_at ? `, until ${format.time(run.expected_end_at)} UTC` : "";
    return make("div", {},
      make("p", {}, make("b", {}, `Ingesting ${corpora}`), run.tracks_planned == null ? " – looking for what is new" : ` – ${format.count(done)} of ${format.count(run.tracks_planned)} tracks${end}`),
      make("progress", {max: run.tracks_planned || 1, value: run.tracks_planned == null ? null : done, "aria-label": `Tracks of ${corpora}`}));
  }));
}

function showTotals({freshness, duplicates, kinds}) {
  const one = state.corpus !== "";
  const total = one ? {...freshness[0], songs: duplicates[0]?.songs, total_bytes: d3.sum(kinds, (row) => row.size_bytes)} : page.totals[0];
  const cards = [["tracks", format.count(total.tracks)], ["hours of audio", format.number(total.audio_h)], ["songs", format.count(total.songs)], ["patterns", format.count(total.patterns)], ["files not in", format.count(total.files_not_in)], ["on disk", format.bytes(total.total_bytes)]];
  fill("totals", cards.map(([name, value]) => make("div", {}, make("b", {}, value), make("span", {}, name))));
}

function showRuns({runs}) {
  const kinds = {completed: "good", failed: "bad", lost: "bad", running: "now"};
  const part = (name) => ({name, kind: "n", show: (run) => (run.flow === "ingest" ? format.count(run[`files_${name}`]) : "")});
  const columns = [
    {name: "started (UTC)", kind: "t", show: (run) => format.time(run.started_at)},
    {name: "flow", kind: "t", show: (run) => run.flow},
    {name: "corpus", show: (run) => run.corpora.join(", ")},
    {name: "state", kind: "t", show: (run) => make("span", {}, tag(run.files_unaccounted ? "bad" : kinds[run.state] ?? "warn", run.state), run.message ? make("small", {}, run.message) : null)},
    ...["seen", "new", "unchanged", "duplicate", "rejected", "failed"].map(part),
    {name: "audio", kind: "n", show: (run) => (run.flow === "ingest" ? `${format.number(run.audio_h)} h` : "")},
    {name: "took", kind: "n", show: (run) => format.duration(run.wall_s)},
  ];
  const off = runs.filter((run) => run.files_unaccounted).length;
  const note = off ? `${off} runs do not add up` : "seen = new + unchanged + duplicate + rejected + failed holds for all";
  fill("t-runs", longTable("All runs", note, columns, runs, 8, "No run in this time."));
}

function showFailures({failures, files, retries}) {
  const groups = d3.groups(failures, (row) => `${row.reason} ${row.stage} ${row.corpus}`).map(([, group]) => ({...group[0], files: d3.sum(group, (row) => row.files), last_at: d3.max(group, (row) => row.last_at)}));
  fill("t-failures", longTable("Faults", "", [
    {name: "reason", kind: "t", show: (row) => tag(row.verdict === "failed" ? "bad" : "warn", format.name(row.reason))},
    {name: "stage", kind: "t", show: (row) => row.stage},
    {name: "corpus", show: (row) => row.corpus},
    {name: "files", kind: "n", show: (row) => format.count(row.files)},
    {name: "for example", kind: "w", show: (row) => row.example_message},
  ], d3.sort(groups, (row) => -row.files), 6, "None in this time."));
  const again = d3.sum(retries, (row) => row.files);
  const note = `newest first${again ? `; ${format.count(again)} were tried more than once` : ""}`;
  fill("t-files", longTable("Files that are not in the lake", note, [
    {name: "file", kind: "w", show: (row) => make("code", {}, row.file)},
    {name: "fault", kind: "w", show: (row) => `${format.name(row.reason)}: ${row.message}`},
    {name: "tried", kind: "n", show: (row) => `${row.attempts}×`},
    {name: "last (UTC)", kind: "t", show: (row) => format.time(row.rejected_at)},
  ], files, 5, "None: every file that was looked at in this time is in the lake, or is a copy of one that is."));
}

function showStages({stages, cost}) {
  const startOf = (row) => page.runs[row.run_id].started_at;
  const last = d3.max(stages, startOf);
  const shown = d3.greatest(stages.filter((row) => last - startOf(row) < DAY_MS / 2), (row) => (row.slow ? DAY_MS : 0) + startOf(row));
  const rows = shown ? stages.filter((row) => row.run_id === shown.run_id) : [];
  const run = shown ? page.runs[shown.run_id] : null;
  const bar = (share) => {
    const mark = make("span", {class: "bar"});
    mark.style.width = `${Math.round(90 * share)}px`;
    return make("span", {}, mark, format.percent(share));
  };
  fill("t-stages", table(rows.some((row) => row.slow) ? "Stages of the newest run that was slow" : "Stages of the newest run", run ? `${run.corpora.join(", ")}, ${format.time(run.started_at)}` : "", [
    {name: "stage", kind: "t", show: (row) => row.stage},
    {name: "share", kind: "t", show: (row) => bar(row.share)},
    {name: "a track, p50", kind: "n", show: (row) => format.seconds(row.p50_s)},
    {name: "p95", kind: "n", show: (row) => format.seconds(row.p95_s)},
    {name: "× usual", kind: "n", show: (row) => (row.slow ? tag("bad", format.ratio(row.relative_time)) : format.ratio(row.relative_time))},
  ], rows, "No track was analysed during this time."));
  const audio = d3.sum(cost, (row) => row.audio_h);
  const work = d3.sum(cost, (row) => row.worker_h);
  const input = make("input", {type: "number", min: "0", step: "0.01", value: state.price, id: "price"});
  input.addEventListener("change", () => update({price: Math.max(0, +input.value || 0)}));
  fill("cost", audio ? make("p", {}, "A thousand hours of audio take ", make("b", {id: "worker-hours"}, format.number(work / audio * 1000, 0)), " hours of a worker. At ", make("label", {}, make("span", {class: "quiet"}, "a price of "), input), " an hour that is ", make("b", {id: "cost-sum"}, format.number(work / audio * 1000 * state.price, 2)), ".") : null);
}

function showLake({freshness, duplicates}) {
  const copies = new Map(duplicates.map((row) => [row.corpus, row]));
  fill("t-corpora", table("Corpora", "", [
    {name: "corpus", show: (row) => row.corpus},
    {name: "tracks", kind: "n", show: (row) => format.count(row.tracks)},
    {name: "audio", kind: "n", show: (row) => `${format.number(row.audio_h)} h`},
    {name: "not in", kind: "n", show: (row) => format.count(row.files_not_in)},
    {name: "copies", kind: "n", show: (row) => format.count(copies.get(row.corpus)?.tracks_same)},
    {name: "excerpts", kind: "n", show: (row) => format.count(copies.get(row.corpus)?.tracks_excerpt)},
    {name: "last new track", kind: "t", show: (row) => format.ago(row.last_new_at, page.made_at)},
    {name: "last looked at", kind: "t", show: (row) => format.ago(row.last_looked_at, page.made_at)},
    {name: "last run", kind: "t", show: (row) => tag({completed: "good", failed: "bad", lost: "bad"}[row.last_state] ?? "now", row.last_state ?? "unknown")},
  ], freshness, "None yet: midime ingest brings one in."));
  fill("t-index", table("Search indexes", state.corpus ? "of all corpora" : "", [
    {name: "instrument", show: (row) => row.instrument_type},
    {name: "kind", show: (row) => row.kind},
    {name: "vectors", kind: "n", show: (row) => format.count(row.vectors)},
    {name: "patterns", kind: "n", show: (row) => format.count(row.patterns)},
    {name: "recall at 10", kind: "n", show: (row) => format.percent(row.recall_at_10)},
    {name: "built", kind: "t", show: (row) => format.ago(row.built_at, page.made_at)},
    {name: "state", kind: "t", show: (row) => tag(row.fresh ? "good" : "warn", row.fresh ? "holds every pattern" : row.index_version ? "behind the lake" : "not built yet")},
  ], page.index, "None yet: midime nightly builds one when there are patterns."));
}

function chooseMeasure(distributions) {
  const measures = [...new Set(distributions.map((row) => row.measure))];
  if (!measures.length) return "How it is distributed";
  const select = make("select", {id: "measure", "aria-label": "Measure"}, measures.map((name) => make("option", {value: name}, format.name(name))));
  if (!measures.includes(state.measure)) state.measure = measures[0];
  select.value = state.measure;
  select.addEventListener("change", () => { update({measure: select.value}); document.getElementById("measure").focus(); });
  return make("span", {}, "How ", select, " is distributed");
}

function showFilters() {
  const corpora = page.freshness.map((row) => row.corpus);
  if (!corpora.includes(state.corpus)) state.corpus = "";
  fill("corpus", make("option", {value: ""}, "all"), corpora.map((name) => make("option", {value: name}, name)));
  document.getElementById("corpus").value = state.corpus;
  if (!document.getElementById("period").childElementCount) {
    fill("period", [7, 30, page.days].map((days) => {
      const input = make("input", {type: "radio", name: "days", value: days});
      input.checked = days === state.days;
      input.addEventListener("change", () => update({days}));
      return make("label", {}, input, `${days} days`);
    }));
  }
  document.getElementById("lake").textContent = page.name;
  document.title = `${document.querySelector("#status h1")?.textContent ?? ""} · MiDiMe ${page.name}`;
}

function show() {
  const rows = chosen();
  showStatus(rows);
  showFilters();
  showRunning();
  showTotals(rows);
  showRuns(rows);
  showFailures(rows);
  showStages(rows);
  showLake(rows);
  showCharts(rows);
  fill("footer", `As of ${format.time(page.made_at)} UTC, snapshot ${page.snapshot}. All times are UTC. Every number comes from a view of the lake: midime tables explains them.`);
}

function showCharts(rows) {
  drawFiles(rows.runs);
  drawSpeed(rows.throughput);
  drawFailures(rows.failures);
  drawStages(rows.stages, page.runs);
  drawDrift(rows.drift);
  drawValues(rows.distributions, page.runs, state.measure, chooseMeasure(rows.distributions));
  drawStorage(rows.storage, rows.kinds);
}

function update(change) {
  state = {...state, ...change};
  try { localStorage.setItem("midime", JSON.stringify(state)); } catch { /* a file may have no storage */ }
  show();
}

function remembered() {
  try { return JSON.parse(localStorage.getItem("midime")) ?? {}; } catch { return {}; }
}

function setTheme(theme) {
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

/** Ask the server for the panels until the page is closed; a file has nobody to ask. */
async function keepFresh() {
  try {
    const answer = await fetch("panels.json", {headers: {"If-None-Match": `"${page.mark}"`}, cache: "no-store"});
    if (answer.status === 200) { page = read(await answer.json()); show(); }
  } catch { showStatus(chosen()); /* the server is away: the page says so when that lasts, and asks again */ }
  setTimeout(keepFresh, 1000 * (page.running.length ? LIVE_S : IDLE_S));
}

document.getElementById("corpus").addEventListener("change", (event) => update({corpus: event.target.value}));
document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(theme);
  update({theme});
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(state.theme));
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; showCharts(chosen()); } });
setTheme(state.theme);
show();
document.documentElement.dataset.ready = "true";
if (served) setTimeout(keepFresh, 1000 * LIVE_S);
