// The few things done to the document. Text goes in as text, never as HTML: names and values come from machines.

const SVG = "http://www.w3.org/2000/svg";

/** el("p.note", "text", child, …) */
export function el(kind, ...children) {
  const [name, ...classes] = kind.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/** Only what differs is written: the rest stays selected, focused and unread by a screen reader. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

/** Make these the children, moving nothing that is in its place already. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
}

/** The shape of a state; the word stands beside it. */
export function icon(state) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${state}`);
  svg.append(use);
  return svg;
}

/** An element with a state: its shape and a word. */
export function sayState(element, state, text) {
  if (element.dataset.state === state && element.textContent === text) return;
  element.dataset.state = state;
  element.replaceChildren(icon(state), el("span", text));
}
