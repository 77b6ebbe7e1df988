// A graph that Python draws: a click or Enter picks a node, arrows go to the next or the last one.
function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "wb-graph";
  // The notebook's own keys (Enter, arrows) stay out of it.
  root.dataset.lmSuppressShortcuts = "true";
  el.appendChild(root);
  const nodes = () => [...root.querySelectorAll("[data-node]")];

  function draw() {
    const active = document.activeElement, focused = root.contains(active) ? active.dataset.node : null;
    // Texts in it are escaped where it is drawn.
    root.innerHTML = model.get("svg");
    root.dataset.drawn = performance.now();
    const again = focused !== null && nodes().find((node) => node.dataset.node === focused);
    if (again) again.focus();
  }

  function pick(node) {
    model.set("selected", Number(node.dataset.node));
    model.save_changes();
  }

  root.addEventListener("click", (e) => {
    const node = e.target.closest("[data-node]");
    if (!node) return;
    node.focus();
    pick(node);
  });
  root.addEventListener("keydown", (e) => {
    const node = e.target.closest("[data-node]");
    if (!node) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    const next = step && nodes()[nodes().indexOf(node) + step];
    if (e.key === "Enter" || e.key === " ") pick(node);
    else if (next) next.focus();
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  model.on("change:svg", draw);
  draw();
}

export default { render };
