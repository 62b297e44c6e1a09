// Tables of rows, and trees of plans. Whatever comes from the server becomes text, never markup.

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A cell's content: a node as it is, nothing as NULL, everything else as text.
function cell({ value, number = typeof value === "number", text = false }) {
  const made = element("td", { className: number ? "number" : text ? "text" : "" });
  if (value instanceof Node) made.append(value);
  else if (value == null) made.append(element("span", { className: "null", textContent: "NULL" }));
  else made.textContent = typeof value === "object" ? JSON.stringify(value) : String(value);
  return made;
}

// Replaces what is in `place` by a table. A column has a title, `value(row)`, and says whether it is a number or long text.
export function table(place, columns, rows, empty = "nothing at present") {
  if (!rows.length) {
    place.replaceChildren(element("p", { className: "empty", textContent: empty }));
    return;
  }
  const head = element("tr", {}, ...columns.map(({ title, number }) => element("th", { scope: "col", className: number ? "number" : "", textContent: title })));
  const body = rows.map((row) => element("tr", {}, ...columns.map(({ value, number, text }) => cell({ value: value(row), number, text }))));
  place.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

// The plan that EXPLAIN prints, as a tree: each line that begins with an arrow is a node below the last one that is indented less;
// other lines belong to the node above them.
export function planTree(lines) {
  const root = { depth: -1, notes: [], children: [] };
  const path = [root];
  for (const line of lines) {
    const depth = line.search(/\S/);
    const text = line.trim();
    const arrow = text.startsWith("->");
    if (!arrow && path.length > 1) {
      const owner = path.findLast((node) => node.depth < depth) ?? path[1];
      owner.notes.push(text);
      continue;
    }
    while (path.at(-1).depth >= depth) path.pop();
    const node = { depth, title: text.replace(/^->\s*/, ""), notes: [], children: [] };
    path.at(-1).children.push(node);
    path.push(node);
  }
  const list = (nodes, className) => element("ul", { className }, ...nodes.map(item));
  const item = ({ title, notes, children }) => {
    const told = notes.map((text) => element("div", { className: "note", textContent: text }));
    if (!children.length && !told.length) return element("li", { textContent: title });
    const below = children.length ? [list(children, "")] : [];
    return element("li", {}, element("details", { open: true }, element("summary", { textContent: title }), ...told, ...below));
  };
  return list(root.children, "tree");
}
