const byId = (id) => document.getElementById(id);
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer), numbers = new Float64Array(bytes.length / 2);
  for (let i = 0; i < numbers.length; i++) {
    const whole = view.getInt16(2 * i, true);
    numbers[i] = whole === -32768 ? NaN : whole / 1000;
  }
  return numbers;
}
const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const power = (exponent) => "10" + [...String(exponent)].map((c) => SUPERSCRIPT[c]).join("");
const minus = (text) => text.replace("-", "−");
function short(value) {
  if (value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 10000)) {
    const [digits, exponent] = value.toExponential(1).split("e");
    return `${digits} · ${power(Number(exponent))}`;
  }
  return minus(String(Number(value.toPrecision(3))));
}
function element(name, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}
const line = (xs, ys) => {
  let d = "";
  for (let i = 0; i < xs.length; i++) d += (i ? "L" : "M") + xs[i].toFixed(1) + " " + ys[i].toFixed(1);
  return d;
};
// A picture with two axes: a frame, titles, ticks that can be replaced, and a layer that is cut off at the frame.
function picture(svg, { x, y, title, xLabel, yLabel }) {
  const box = { left: 56, right: 386, top: 28, bottom: 248 }, id = svg.id + "-frame";
  svg.setAttribute("viewBox", "0 0 400 296");
  const clip = element("clipPath", { id }, element("defs", {}, svg));
  const size = { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top };
  element("rect", size, clip);
  const ticks = element("g", {}, svg);
  const inside = element("g", { "clip-path": `url(#${id})` }, svg);
  element("rect", { ...size, class: "axis" }, svg);
  const heading = element("text", { x: box.left, y: 18, class: "title" }, svg, title);
  element("text", { x: (box.left + box.right) / 2, y: 290, "text-anchor": "middle" }, svg, xLabel);
  element("text", { x: 0, y: 0, transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, svg, yLabel);
  const made = {
    inside, heading, x, y,
    px: (value) => box.left + ((value - made.x[0]) / (made.x[1] - made.x[0])) * (box.right - box.left),
    py: (value) => box.bottom - ((value - made.y[0]) / (made.y[1] - made.y[0])) * (box.bottom - box.top),
    ticks(xs, ys, grid) {
      ticks.replaceChildren();
      for (const [value, text] of xs) {
        const at = made.px(value);
        if (grid) element("line", { x1: at, x2: at, y1: box.top, y2: box.bottom, class: "grid" }, ticks);
        element("line", { x1: at, x2: at, y1: box.bottom, y2: box.bottom + 4, class: "axis" }, ticks);
        element("text", { x: at, y: box.bottom + 18, "text-anchor": "middle" }, ticks, text);
      }
      for (const [value, text] of ys) {
        const at = made.py(value);
        if (grid) element("line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "grid" }, ticks);
        element("line", { x1: box.left - 4, x2: box.left, y1: at, y2: at, class: "axis" }, ticks);
        element("text", { x: box.left - 7, y: at + 5, "text-anchor": "end" }, ticks, text);
      }
    },
  };
  return made;
}
