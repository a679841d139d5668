// The picture of the page: sound on the left becomes lines of text on the right.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 48;
const STEP = 6;
const LOUDNESS = [3, 5, 9, 14, 22, 30, 24, 36, 44, 32, 40, 26, 34, 42, 30, 18, 26, 34, 22, 28, 16, 20, 12, 8, 10, 6, 4, 3];
const LINES = [
  [0, 62, 18, 46, 30, 74],
  [0, 38, 54, 26, 66],
  [0, 70, 32, 44],
];
const LINE_AT = 186;
const WORD_GAP = 6;

/** Return the picture. It says nothing that the text does not, so it is hidden from screen readers. */
export function soundAndText() {
  const svg = create("svg", { viewBox: `0 0 460 ${HEIGHT}`, class: "figure", "aria-hidden": "true" });
  LOUDNESS.forEach((size, index) => {
    svg.append(create("rect", { class: "figure-sound", x: index * STEP, y: (HEIGHT - size) / 2, width: 2.5, height: size, rx: 1.25 }));
  });
  LINES.forEach((words, row) => {
    let x = LINE_AT;
    words.filter(Boolean).forEach((width) => {
      svg.append(create("rect", { class: "figure-word", x, y: 6 + row * 15, width, height: 5, rx: 2.5 }));
      x += width + WORD_GAP;
    });
  });
  return svg;
}

function create(name, attributes) {
  const element = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  return element;
}
