// The view with a statement and its result.

import { Refused, query } from "/console-api.js";
import { element, planTree, table } from "/console-table.js";

const HISTORY = "omendb-history";
const HISTORY_MAX = 30;
const ROWS_A_PAGE = 200;

const find = (id) => document.getElementById(id);

function earlier() {
  try {
    return JSON.parse(localStorage.getItem(HISTORY)) ?? [];
  } catch {
    return [];
  }
}

function showHistory() {
  const options = earlier().map((text) => element("option", { value: text, textContent: text.replaceAll(/\s+/g, " ").slice(0, 60) }));
  find("sql-history").replaceChildren(element("option", { value: "", textContent: "" }), ...options);
}

function remember(text) {
  const kept = [text, ...earlier().filter((other) => other !== text)].slice(0, HISTORY_MAX);
  localStorage.setItem(HISTORY, JSON.stringify(kept));
  showHistory();
}

function showError(error, text) {
  const place = error.position ? `\n${pointer(text, error.position)}` : "";
  const more = [["DETAIL", error.detail], ["HINT", error.hint]].filter(([, told]) => told).map(([name, told]) => `\n${name}: ${told}`);
  find("sql-error").textContent = `${error.sqlstate ?? ""} ${error.message}${more.join("")}${place}`.trim();
  find("sql-error").hidden = false;
}

// The line of the statement that holds the position, and a mark below it.
function pointer(text, position) {
  const before = [...text].slice(0, position - 1).join("");
  const line = text.split("\n")[before.split("\n").length - 1];
  return `${line}\n${" ".repeat([...before.split("\n").at(-1)].length)}^`;
}

function showRows({ columns, rows }) {
  const place = find("sql-result");
  const described = columns.map(({ name, type }, index) => ({
    title: name,
    number: /^(int|float|numeric|oid)/.test(type),
    text: type === "text",
    value: (row) => row[index],
  }));
  let shown = 0;
  const more = () => {
    shown = Math.min(shown + ROWS_A_PAGE, rows.length);
    table(place, described, rows.slice(0, shown), "no rows");
    if (shown < rows.length) {
      place.append(element("button", { type: "button", textContent: `${rows.length - shown} more`, onclick: more }));
    }
  };
  more();
}

async function run(prefix, onRefused) {
  const text = find("sql-text").value.trim();
  if (!text) return;
  find("sql-error").hidden = true;
  find("sql-note").textContent = "running";
  const started = performance.now();
  try {
    const result = await query(prefix + text);
    const took = (performance.now() - started).toFixed(1);
    find("sql-note").textContent = `${result.command}, ${took} ms with the way there and back`;
    if (prefix) find("sql-result").replaceChildren(planTree(result.rows.map(([line]) => line)));
    else if (result.columns.length) showRows(result);
    else find("sql-result").replaceChildren(element("p", { className: "empty", textContent: result.command }));
    remember(text);
  } catch (error) {
    find("sql-note").textContent = "";
    find("sql-result").replaceChildren();
    showError(error, text);
    // A mistake in the statement is told below it and nowhere else.
    if (!(error instanceof Refused) || error.status === 401) onRefused(error);
  }
}

// `onRefused` hears when the server cannot be reached, or wants to know who asks.
export function start(onRefused) {
  showHistory();
  find("sql-form").addEventListener("submit", (event) => { event.preventDefault(); run("", onRefused); });
  find("sql-explain").addEventListener("click", () => run("EXPLAIN ", onRefused));
  find("sql-analyze").addEventListener("click", () => run("EXPLAIN ANALYZE ", onRefused));
  find("sql-history").addEventListener("change", (event) => { if (event.target.value) find("sql-text").value = event.target.value; });
  find("sql-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run("", onRefused); }
  });
}
