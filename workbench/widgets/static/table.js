// One page of a large table: a click on a header sorts, a click on a row picks it.
function render({ model, el }) {
  const table = document.createElement("table");
  table.className = "wb-table";
  // The notebook's own keys (Enter, arrows) stay out of it.
  table.dataset.lmSuppressShortcuts = "true";
  el.appendChild(table);

  function cell(kind, text) {
    const c = document.createElement(kind);
    c.textContent = text;
    return c;
  }

  function sort(column) {
    const same = model.get("sort") === column;
    model.set("descending", same ? !model.get("descending") : true);
    model.set("sort", column);
    model.save_changes();
  }

  function pick(index) {
    model.set("selected", index);
    model.save_changes();
  }

  function draw() {
    const columns = model.get("columns"), rows = model.get("rows");
    const focused = table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const head = document.createElement("tr");
    columns.forEach((name) => {
      const th = cell("th", "");
      const b = cell("button", name);
      const sorted = model.get("sort") === name;
      th.setAttribute("aria-sort", sorted ? (model.get("descending") ? "descending" : "ascending") : "none");
      if (sorted) b.textContent += model.get("descending") ? " ▼" : " ▲";
      b.dataset.key = `h:${name}`;
      b.onclick = () => sort(name);
      th.appendChild(b);
      head.appendChild(th);
    });
    const body = rows.map((row) => {
      const tr = document.createElement("tr");
      tr.dataset.key = `r:${row[0]}`;
      tr.tabIndex = 0;
      tr.setAttribute("aria-selected", String(model.get("selected")) === row[0]);
      tr.onclick = () => pick(Number(row[0]));
      tr.onkeydown = (e) => {
        const next = { ArrowDown: tr.nextSibling, ArrowUp: tr.previousSibling }[e.key];
        if (e.key === "Enter" || e.key === " ") pick(Number(row[0]));
        else if (next && next.dataset.key) next.focus();
        else return;
        e.preventDefault();
        e.stopPropagation();
      };
      row.forEach((text) => tr.appendChild(cell("td", text)));
      return tr;
    });
    table.replaceChildren(head, ...body);
    table.dataset.sorted = `${model.get("sort")} ${model.get("descending")}`;
    table.dataset.drawn = performance.now();
    const again = focused && table.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (again) again.focus();
  }
  for (const name of ["rows", "selected"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };
