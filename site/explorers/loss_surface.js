const at = JSON.parse(byId("loss-surface-numbers").textContent);
const paths = unpack(at.paths), parts = unpack(at.parts), points = at.steps + 1;
const names = ["flat", "steep"];
const lr = byId("loss-surface-lr"), ratio = byId("loss-surface-ratio");
const bowl = picture(byId("loss-surface-bowl"), { x: [-3, 3], y: [-2, 2], title: "", xLabel: "w₁", yLabel: "w₂" });
const curve = picture(byId("loss-surface-curve"), { x: [0, at.steps], y: [-8, 4], title: "loss above its minimum", xLabel: "step", yLabel: "" });
curve.ticks([0, 5, 10, 15, 20, 25].map((v) => [v, v]), [-8, -6, -4, -2, 0, 2, 4].map((v) => [v, power(v)]), true);
const contours = element("g", {}, bowl.inside), steps = [];
for (let k = 1; k <= at.levels; k++) element("ellipse", { class: "contour", opacity: 0.35 + (0.65 * k) / at.levels }, contours);
for (const [x1, x2, y1, y2] of [[-0.12, 0.12, 0, 0], [0, 0, -0.12, 0.12]])
  element("line", { class: "minimum", x1: bowl.px(x1), x2: bowl.px(x2), y1: bowl.py(y1), y2: bowl.py(y2) }, bowl.inside);
const axes = names.map((name) => element("path", { class: `direction ${name}` }, bowl.inside));
const walk = element("path", { class: "walk raw" }, bowl.inside), fall = element("path", { class: "walk raw sum" }, curve.inside);
const lines = names.map((name) => element("path", { class: `part ${name}` }, curve.inside));
const words = [bowl, curve].map((one) => names.map((name) => element("text", { class: `word ${name}`, "text-anchor": "middle" }, one.inside, name)));
for (let t = 0; t < points; t++) steps.push(element("circle", { class: "dot", r: 3.4 }, bowl.inside));
const unit = bowl.px(1) - bowl.px(0); // the same in both directions: circles are drawn as circles
function whole(low, high) {
  const found = [];
  for (let v = Math.ceil(low); v <= high; v++) found.push(v);
  return found;
}
function size(exponent) {
  if (exponent >= 8) return `above ${power(8)}`;
  return exponent <= -8 ? `below ${power(-8)}` : short(10 ** exponent);
}
function draw() {
  const i = Number(ratio.value), j = Number(lr.value), shape = at.bowls[i], rate = at.rates[j];
  [...contours.children].forEach((ellipse, k) => {
    const size = ((k + 1) / at.levels) * unit;
    ellipse.setAttribute("rx", (size * shape.axes[0]).toFixed(1));
    ellipse.setAttribute("ry", (size * shape.axes[1]).toFixed(1));
    ellipse.setAttribute("transform", `translate(${bowl.px(0)} ${bowl.py(0)}) rotate(${-shape.angle})`);
  });
  const [w1, w2] = shape.minimum;
  bowl.ticks(whole(w1 - 3, w1 + 3).map((v) => [v - w1, minus(String(v))]), whole(w2 - 2, w2 + 2).map((v) => [v - w2, minus(String(v))]));
  const xs = [], ys = [], times = [], heights = [], each = [[], []], first = (i * at.rates.length + j) * points;
  for (let t = 0; t < points; t++) {
    const x = paths[2 * (first + t)], y = paths[2 * (first + t) + 1], seen = Number.isFinite(x);
    if (seen) { xs.push(bowl.px(x)); ys.push(bowl.py(y)); }
    steps[t].setAttribute("visibility", seen ? "visible" : "hidden");
    if (seen) { steps[t].setAttribute("cx", xs[t].toFixed(1)); steps[t].setAttribute("cy", ys[t].toFixed(1)); }
    times.push(curve.px(t));
    const both = [0, 1].map((k) => parts[2 * (first + t) + k]);
    both.forEach((power, k) => each[k].push(curve.py(power)));
    heights.push(Math.min(8, Math.max(...both) + Math.log10(1 + 10 ** -Math.abs(both[0] - both[1]))));
  }
  walk.setAttribute("d", line(xs, ys));
  fall.setAttribute("d", line(times, heights.map(curve.py)));
  lines.forEach((one, k) => one.setAttribute("d", line(times, each[k])));
  const turn = (shape.angle * Math.PI) / 180;
  for (const k of [0, 1]) {
    const along = [[Math.cos(turn), Math.sin(turn)], [-Math.sin(turn), Math.cos(turn)]][k];
    const reach = Math.min(3 / Math.abs(along[0]), 2 / Math.abs(along[1])) * Math.sign(along[k]);
    const [x, y] = along.map((value) => value * reach);
    axes[k].setAttribute("d", line([bowl.px(-x), bowl.px(x)], [bowl.py(-y), bowl.py(y)]));
    words[0][k].setAttribute("x", bowl.px(0.8 * x).toFixed(1));
    words[0][k].setAttribute("y", (bowl.py(0.8 * y) + 5).toFixed(1));
    let t = 12; // or the last step before it at which the line is in the picture
    while (t > 1 && Math.abs(parts[2 * (first + t) + k] + 2) > 5) t--;
    const middle = Math.min(Math.max(parts[2 * (first + t) + k], -7), 3);
    words[1][k].setAttribute("x", (curve.px(t) + (t < 12 ? 28 : 0)).toFixed(1));
    words[1][k].setAttribute("y", curve.py(middle).toFixed(1));
  }
  const gap = words[1].map((word) => Number(word.getAttribute("y")));
  if (Math.abs(gap[0] - gap[1]) < 18) {
    const upper = gap[0] <= gap[1] ? 0 : 1, center = Math.min(Math.max((gap[0] + gap[1]) / 2, 52), 226);
    words[1][upper].setAttribute("y", (center - 9).toFixed(1));
    words[1][1 - upper].setAttribute("y", (center + 9).toFixed(1));
  }
  bowl.heading.textContent = `condition number κ = ${shape.kappa.toFixed(1)}`;
  byId("loss-surface-limit").style.left = `${100 * Math.min(1, Math.log(shape.limit / at.rates[0]) / Math.log(at.rates.at(-1) / at.rates[0]))}%`;
  const last = heights.at(-1), factors = shape.curvatures.map((curvature) => 1 - rate * curvature);
  const end = size(last);
  const verdict = rate < shape.limit ? "below" : "beyond";
  byId("loss-surface-lr-value").textContent = short(rate);
  byId("loss-surface-ratio-value").textContent = short(at.ratios[i]);
  lr.setAttribute("aria-valuetext", short(rate));
  ratio.setAttribute("aria-valuetext", short(at.ratios[i]));
  byId("loss-surface-status").textContent = `η = ${short(rate)} is ${verdict} the limit 2/λmax = ${short(shape.limit)}. Each step multiplies the flat component by ${short(factors[0])} and the steep one by ${short(factors[1])}. After ${at.steps} steps the loss above its minimum is ${end}; it began at ${short(10 ** heights[0])}.`;
  byId("loss-surface-bowl").setAttribute("aria-label", `Contours of the loss over two weights, condition number ${shape.kappa.toFixed(1)}, and a walk of ${at.steps} steps of gradient descent at learning rate ${short(rate)}, ${verdict} the largest stable one.`);
  byId("loss-surface-curve").setAttribute("aria-label", `The loss above its minimum over ${at.steps} steps, on a logarithmic scale: from ${short(10 ** heights[0])} to ${end}. Its flat part ends at ${size(parts[2 * (first + points - 1)])}, its steep part at ${size(parts[2 * (first + points - 1) + 1])}.`);
}
for (const [slider, values, start] of [[lr, at.rates, at.first[0]], [ratio, at.ratios, at.first[1]]]) {
  slider.max = values.length - 1;
  slider.value = start;
  slider.addEventListener("input", draw);
}
draw();
