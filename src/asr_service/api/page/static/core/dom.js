// Creates elements. Text is always text: nothing here parses HTML.

/**
 * Create an element. `attributes` may have `class`, listeners (`onclick`), properties that are booleans (`hidden`),
 * and attributes. A child that is null or false is left out; a string becomes text.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean" && !name.startsWith("aria-")) element[name] = value;
    else element.setAttribute(name === "class" ? "class" : name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Create an icon of 20 units from the data of its path. It is hidden from screen readers. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Set the text of an element only if it differs, so that a live region does not repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
