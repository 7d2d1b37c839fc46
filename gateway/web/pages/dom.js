// The few things done to the document. Text goes in as text, never as HTML: names and values come from machines.

const SVG = "http://www.w3.org/2000/svg";

/** el("p.note", "text", child, …) */
export function el(kind, ...children) {
  const [name, ...classes] = kind.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** The same with attributes. */
export function with_(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export function svg(name, attributes = {}, ...children) {
  const element = with_(document.createElementNS(SVG, name), attributes);
  element.append(...children);
  return element;
}

/** Only what differs is written: the rest stays selected, focused and unread by a screen reader. */
export function say(element, text) {
  const wanted = text || ""; // what is there to say may be nothing
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

/** Make these the children, moving nothing that is in its place already, and without losing the focus. */
export function arrange(parent, children) {
  const focused = document.activeElement;
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** The shape of a state; the word stands beside it. */
export function icon(state) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#${state}` }));
}

/** An element with a state: its shape and a word. */
export function sayState(element, state, text) {
  if (element.dataset.state === state && element.textContent === text) return;
  element.dataset.state = state;
  element.replaceChildren(icon(state), el("span", text));
}

export function button(kind, text, onclick) {
  const element = el(`button.${kind}`, text);
  element.type = "button";
  element.onclick = onclick;
  return element;
}

export function link(href, text, kind = "a") {
  const element = el(kind, text);
  element.href = href;
  return element;
}

/** The head of a table. */
export function heads(...columns) {
  return el("thead", el("tr", ...columns.map(([kind, text]) => with_(el(kind ? `th.${kind}` : "th", text), { scope: "col" }))));
}

/** What is folded away under a line that says so. `fill` is called when it is opened for the first time. */
export function disclosure(title, fill) {
  const body = el("div.inside");
  const details = el("details", el("summary", title), body);
  details.addEventListener("toggle", () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = "yes";
    fill(body);
  });
  return details;
}
