// Layers × heads as buttons: arrows move, Enter or a click switches a head in or out.
const LOW = [236, 242, 248], HIGH = [8, 64, 129];

function paint(value, low, high) {
  const t = high > low ? (value - low) / (high - low) : 1;
  const c = LOW.map((a, i) => Math.round(a + t * (HIGH[i] - a)));
  return { back: `rgb(${c})`, ink: t > 0.55 ? "white" : "#22303c" };
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "wb-headmap";
  root.setAttribute("role", "grid");
  // The notebook's own keys (Enter, arrows) stay out of it.
  root.dataset.lmSuppressShortcuts = "true";
  el.appendChild(root);

  function draw() {
    const values = model.get("values"), layers = model.get("layers");
    const cells = new Set(model.get("cells").map(String)), active = new Set(model.get("active").map(String));
    const flat = values.flat().filter((v) => v !== null);
    const low = Math.min(...flat), high = Math.max(...flat);
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.cell : null;
    root.setAttribute("aria-label", model.get("name") + " by layer and head");
    root.style.gridTemplateColumns = `64px repeat(${values[0].length}, minmax(14px, 34px))`;
    root.replaceChildren();
    ["head", ...values[0].keys()].forEach((text) => {
      const top = document.createElement("span");
      top.textContent = text;
      root.appendChild(top);
    });
    values.forEach((row, i) => {
      const label = document.createElement("span");
      label.textContent = `layer ${layers[i]}`;
      root.appendChild(label);
      row.forEach((value, h) => {
        const cell = `${layers[i]},${h}`, on = active.has(cell), can = cells.has(cell);
        const b = document.createElement("button");
        b.dataset.cell = cell;
        b.tabIndex = -1;
        b.setAttribute("role", "gridcell");
        b.setAttribute("aria-selected", on);
        b.disabled = !can;
        const said = value === null ? "" : `, ${model.get("name")} ${value.toPrecision(3)}`;
        b.title = `layer ${layers[i]} head ${h}${said}, ${on ? "in" : can ? "out" : "not in the direction"}`;
        b.setAttribute("aria-label", b.title);
        if (value !== null) {
          const { back, ink } = paint(value, low, high);
          b.style.background = back;
          b.style.color = ink;
        }
        b.textContent = on ? "●" : can ? "○" : "";
        root.appendChild(b);
      });
    });
    const first = root.querySelector(focused ? `[data-cell="${focused}"]` : "button:not(:disabled)");
    if (first) first.tabIndex = 0;
    if (first && focused) first.focus();
  }

  function toggle(cell) {
    const active = model.get("active"), pair = cell.split(",").map(Number);
    const rest = active.filter((c) => String(c) !== cell);
    model.set("active", rest.length < active.length ? rest : [...active, pair]);
    model.save_changes();
  }

  root.addEventListener("click", (e) => {
    const cell = e.target.dataset && e.target.dataset.cell;
    if (!cell || e.target.disabled) return;
    e.target.focus();
    toggle(cell);
  });
  root.addEventListener("keydown", (e) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    const cell = e.target.dataset && e.target.dataset.cell;
    if (!step || !cell) return;
    e.preventDefault();
    e.stopPropagation();
    const layers = model.get("layers");
    let [layer, head] = cell.split(",").map(Number), row = layers.indexOf(layer);
    // On to the next head that can be switched.
    for (;;) {
      row += step[0];
      head += step[1];
      const next = root.querySelector(`[data-cell="${layers[row]},${head}"]`);
      if (!next) return;
      if (next.disabled) continue;
      e.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      return;
    }
  });
  for (const name of ["values", "layers", "cells", "active", "name"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };
