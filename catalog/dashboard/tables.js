// How numbers, times and tables are written. Everything becomes text nodes: nothing from a file can become markup.
"use strict";

const numbers = new Intl.NumberFormat("en");
const times = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC"});

const format = {
  count: (value) => (value == null ? "–" : numbers.format(value)),
  number: (value, digits = 1) =>
    value == null ? "–" : value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits}),
  percent: (share) => (share == null ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`),
  ratio: (value) => (value == null ? "–" : `${value.toFixed(value < 10 ? 1 : 0)}×`),
  time: (ms) => (ms == null ? "–" : times.format(ms)),
  seconds: (s) => (s == null ? "–" : s < 1 ? `${Math.round(s * 1000)} ms` : s < 100 ? `${s.toFixed(1)} s` : format.duration(s)),
  duration: (s) =>
    s == null ? "–" : s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${Math.round(s / 86400)} days`,
  ago: (ms, now) => (ms == null ? "never" : `${format.duration(Math.max(0, now - ms) / 1000)} ago`),
  bytes: (bytes) => {
    const step = bytes > 0 ? Math.min(4, Math.floor(Math.log10(bytes) / 3)) : 0;
    return `${(bytes / 1000 ** step).toFixed(step && bytes / 1000 ** step < 10 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
  },
  name: (column) => column.replaceAll("_", " ").replace(/ bpm$/, " (bpm)"),
};

/** Make an element; attributes are set as such, children are nodes or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** Put these children in place of what an element holds. */
function fill(id, ...children) {
  document.getElementById(id).replaceChildren(...children.flat().filter((child) => child != null));
}

const tag = (kind, text) => make("span", {class: `tag ${kind}`}, text);

/**
 * A table with a caption; it scrolls sideways where the screen is narrow.
 * Without rows it says `none`.
 * columns: [{name, show: row => text or node, kind: "n" for numbers, "t" for short text, "w" for wide text}]
 */
function table(caption, note, columns, rows, none = "None.") {
  if (!rows.length) return make("figure", {}, make("figcaption", {}, caption), make("p", {class: "empty"}, none));
  const head = make("tr", {}, columns.map((column) => make("th", {scope: "col", class: column.kind}, column.name)));
  const body = rows.map((row) => make("tr", {}, columns.map((column) => make("td", {class: column.kind}, column.show(row) ?? "–"))));
  const small = note ? [" ", make("small", {}, note)] : [];
  return make(
    "div",
    {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
    make("table", {}, make("caption", {}, caption, ...small), make("thead", {}, head), make("tbody", {}, body)),
  );
}

/** The first rows of a table, and the others behind a line that opens them. */
function longTable(caption, note, columns, rows, first, none) {
  const rest = rows.slice(first);
  if (!rest.length) return [table(caption, note, columns, rows, none)];
  const more = make("details", {}, make("summary", {}, `${format.count(rest.length)} more`));
  more.addEventListener("toggle", () => more.childElementCount === 1 && more.append(table(`${caption}, continued`, "", columns, rest)));
  return [table(caption, note, columns, rows.slice(0, first)), more];
}
