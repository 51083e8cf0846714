const at = JSON.parse(byId("signal-propagation-numbers").textContent);
const scale = byId("signal-propagation-scale"), depth = byId("signal-propagation-depth");
const deepest = at.depths.at(-1) + 1, before = [0]; // where each depth's gradients begin
for (const d of at.depths) before.push(before.at(-1) + d + 1);
const sizes = {};
for (const [name, of] of Object.entries(at.sizes)) sizes[name] = { signals: unpack(of.signals), gradients: unpack(of.gradients) };
const NAMES = { tanh: "tanh", relu: "ReLU", linear: "linear" };
const kinds = ["signals", "gradients"], panels = {};
for (const kind of kinds) {
  const panel = picture(byId(`signal-propagation-${kind}`), { x: [0, 30], y: [-9, 9], title: `${kind}: root mean square`, xLabel: "layer", yLabel: "" });
  panel.level = element("path", { fill: "none", stroke: "currentColor", "stroke-width": 1.2, "stroke-dasharray": "2 4" }, panel.inside);
  panel.known = at.marks.map((mark) => element("path", { fill: "none", stroke: `var(--${mark.role})`, "stroke-width": 1.6 }, panel.inside));
  panel.curve = element("path", { class: "walk", "stroke-width": 3 }, panel.inside);
  panels[kind] = panel;
}
// Powers of ten of all layers, from the first to the last of `layers`, at one position of the sliders.
function values(kind, activation, s, d) {
  const of = sizes[activation][kind], layers = at.depths[d] + 1;
  const first = kind === "signals" ? s * deepest : s * before.at(-1) + before[d];
  return of.subarray(first, first + layers);
}
function chosen() {
  return document.querySelector("#signal-propagation-activation input:checked").value;
}
function draw() {
  const s = Number(scale.value), d = Number(depth.value), layers = at.depths[d], activation = chosen();
  const step = layers > 25 ? 10 : layers > 10 ? 5 : layers > 5 ? 2 : 1, ticks = [];
  for (let l = 0; l <= layers; l += step) ticks.push([l, l]);
  const ends = {};
  for (const kind of kinds) {
    const panel = panels[kind];
    panel.x = [0, layers];
    panel.ticks(ticks, [-9, -6, -3, 0, 3, 6, 9].map((v) => [v, power(v)]), true);
    const xs = Array.from({ length: layers + 1 }, (_, l) => panel.px(l));
    panel.level.setAttribute("d", line([xs[0], xs.at(-1)], [panel.py(0), panel.py(0)]));
    const path = (where) => line(xs, Array.from(values(kind, activation, where, d), panel.py));
    at.marks.forEach((mark, k) => panel.known[k].setAttribute("d", path(mark.at)));
    panel.curve.setAttribute("d", path(s));
    const found = values(kind, activation, s, d);
    ends[kind] = [found[0], found[layers]];
  }
  const known = at.marks.find((mark) => mark.at === s), named = short(at.scales[s]) + (known ? ` (${known.name})` : "");
  const forward = short(10 ** (ends.signals[1] - ends.signals[0])), backward = short(10 ** (ends.gradients[0] - ends.gradients[1]));
  byId("signal-propagation-scale-value").textContent = named;
  byId("signal-propagation-depth-value").textContent = `${layers} layers`;
  scale.setAttribute("aria-valuetext", named);
  depth.setAttribute("aria-valuetext", `${layers} layers`);
  byId("signal-propagation-status").textContent = `${layers} ${NAMES[activation]} layers, weights of standard deviation s/√n with s = ${named}. On the way forward the signals are multiplied by ${forward}, on the way back the gradients by ${backward}.`;
  const how = `${layers} ${NAMES[activation]} layers, weight scale ${named}, on a logarithmic scale, beside the curves of PyTorch's default, Xavier and He.`;
  byId("signal-propagation-signals").setAttribute("aria-label", `Root mean square of the signals over ${how} From input to end they are multiplied by ${forward}.`);
  byId("signal-propagation-gradients").setAttribute("aria-label", `Root mean square of the gradients over ${how} From end to input they are multiplied by ${backward}.`);
}
for (const [slider, positions, start] of [[scale, at.scales, at.first[0]], [depth, at.depths, at.first[1]]]) {
  slider.max = positions.length - 1;
  slider.value = start;
  slider.addEventListener("input", draw);
}
for (const name of Object.keys(sizes)) {
  const label = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "signal-propagation-activation", value: name, checked: name === at.activation });
  input.addEventListener("change", draw);
  label.append(input, NAMES[name]);
  byId("signal-propagation-activation").append(label);
}
for (const mark of at.marks) {
  const button = document.createElement("button"), tick = document.createElement("span"), text = document.createElement("span");
  button.type = "button";
  button.textContent = `${mark.name}: s = ${mark.written}`;
  button.style.setProperty("--role", `var(--${mark.role})`);
  button.addEventListener("click", () => { scale.value = mark.at; draw(); });
  byId("signal-propagation-marks").append(button);
  tick.className = "tick";
  tick.style.left = `${(100 * mark.at) / (at.scales.length - 1)}%`;
  tick.style.setProperty("--role", `var(--${mark.role})`);
  text.textContent = mark.written;
  tick.append(text);
  byId("signal-propagation-ticks").append(tick);
}
draw();
