// Lines of code with a button that copies them.
function render({ model, el }) {
  const pre = document.createElement("pre"), button = document.createElement("button");
  pre.className = "wb-code";
  pre.tabIndex = 0;
  button.className = "jupyter-button";
  button.textContent = "Copy";
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(model.get("text"));
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
  const draw = () => {
    pre.textContent = model.get("text");
    pre.hidden = button.hidden = !model.get("text");
  };
  el.append(pre, button);
  model.on("change:text", draw);
  draw();
}

export default { render };
