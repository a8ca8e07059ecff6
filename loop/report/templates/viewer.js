/* Draws crystals on canvases marked data-scene. Drag, or use the arrow keys, to turn; + and - zoom; 0 resets. */
(() => {
  "use strict";
  const { palette, scenes } = JSON.parse(document.getElementById("scenes").textContent);
  const ATOM = 0.42;      // drawn radius as a share of the covalent radius
  const BOND = 0.1;       // half thickness of a bond, Å
  const EYE = 4.2;        // distance of the eye in units of the scene's size: a little perspective
  const START = turned(turned([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 0.5, 0), 0, -1.25);

  function product(a, b) {
    return a.map(row => [0, 1, 2].map(j => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
  }
  function turned(matrix, right, down) {
    const [c, s, d, t] = [Math.cos(right), Math.sin(right), Math.cos(down), Math.sin(down)];
    const around = right ? [[c, -s, 0], [s, c, 0], [0, 0, 1]] : [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    return product([[1, 0, 0], [0, d, -t], [0, t, d]], product(matrix, around));
  }
  function spun(matrix, right, down) { // turns about the screen's own axes
    const [c, s, d, t] = [Math.cos(right), Math.sin(right), Math.cos(down), Math.sin(down)];
    return product([[c, 0, s], [0, 1, 0], [-s, 0, c]], product([[1, 0, 0], [0, d, -t], [0, t, d]], matrix));
  }
  function rgb(hex) { // #rgb or #rrggbb
    const digits = hex.trim().slice(1), wide = digits.length === 3 ? [...digits].map(c => c + c).join("") : digits;
    return [0, 2, 4].map(i => parseInt(wide.slice(i, i + 2), 16));
  }
  const mixed = (a, b, share) => a.map((x, i) => Math.round(x + (b[i] - x) * share));
  const css = c => `rgb(${c[0]},${c[1]},${c[2]})`;

  function parts(scene) {
    const kinds = scene.elements.map(symbol => ({ colour: rgb(palette[symbol].colour), radius: ATOM * palette[symbol].radius }));
    const atoms = scene.atoms.map(([kind, x, y, z]) => ({ ...kinds[kind], at: [x, y, z] }));
    const sticks = [];
    for (const [i, j] of scene.bonds) {
      const [a, b] = [atoms[i], atoms[j]];
      const length = Math.hypot(...a.at.map((x, k) => b.at[k] - x));
      const along = distance => a.at.map((x, k) => x + (b.at[k] - x) * distance / length);
      // From just below one surface to just below the other: a bond is never painted over the ball it leaves.
      const [start, end] = [along(0.85 * a.radius), along(length - 0.85 * b.radius)];
      sticks.push({ from: start, to: along(length / 2), colour: a.colour }, { from: along(length / 2), to: end, colour: b.colour });
    }
    const corner = (i, j, k) => [0, 1, 2].map(d => (i - 0.5) * scene.cell[0][d] + (j - 0.5) * scene.cell[1][d] + (k - 0.5) * scene.cell[2][d]);
    const edges = [];
    const pieces = 10; // so that an edge can pass both before and behind an atom
    for (const [p, q] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      for (const [a, b] of [[corner(0, p, q), corner(1, p, q)], [corner(p, 0, q), corner(p, 1, q)], [corner(p, q, 0), corner(p, q, 1)]]) {
        for (let n = 0; n < pieces; n++) {
          const along = t => a.map((x, k) => x + (b[k] - x) * t / pieces);
          edges.push({ from: along(n), to: along(n + 1) });
        }
      }
    }
    const reach = Math.max(...atoms.map(a => Math.hypot(...a.at) + a.radius), ...edges.map(e => Math.hypot(...e.from)));
    return { atoms, sticks, edges, reach };
  }

  class Viewer {
    constructor(canvas) {
      this.canvas = canvas;
      this.parts = parts(scenes[canvas.dataset.scene]);
      this.reset();
      this.listen();
    }
    reset() { this.matrix = START; this.zoom = 1; }
    listen() {
      const held = new Map();
      this.canvas.addEventListener("pointerdown", e => { held.set(e.pointerId, [e.clientX, e.clientY]); this.canvas.setPointerCapture(e.pointerId); });
      this.canvas.addEventListener("pointermove", e => {
        const last = held.get(e.pointerId);
        if (!last) return;
        held.set(e.pointerId, [e.clientX, e.clientY]);
        this.turn((e.clientX - last[0]) * 0.01, (e.clientY - last[1]) * 0.01);
      });
      for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, e => held.delete(e.pointerId));
      this.canvas.addEventListener("dblclick", () => { this.reset(); this.draw(); });
      this.canvas.addEventListener("keydown", e => {
        const step = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] }[e.key];
        if (step) this.turn(...step);
        else if (e.key === "+" || e.key === "=") this.scale(1.12);
        else if (e.key === "-") this.scale(1 / 1.12);
        else if (e.key === "0") { this.reset(); this.draw(); }
        else return;
        e.preventDefault();
      });
    }
    turn(right, down) { this.matrix = spun(this.matrix, right, down); this.draw(); }
    scale(by) { this.zoom = Math.min(4, Math.max(0.4, this.zoom * by)); this.draw(); }

    draw() {
      const { canvas, matrix, parts: { atoms, sticks, edges, reach } } = this;
      const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, tall = canvas.clientHeight;
      if (!wide || !tall) return;
      if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(tall * ratio)) {
        canvas.width = Math.round(wide * ratio);
        canvas.height = Math.round(tall * ratio);
      }
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, wide, tall);
      const style = getComputedStyle(canvas);
      const paper = rgb(style.getPropertyValue("--paper")), ink = rgb(style.getPropertyValue("--ink-faint"));
      const unit = this.zoom * 0.48 * Math.min(wide, tall) / reach;
      const seen = ([x, y, z]) => {
        const [u, v, w] = matrix.map(row => row[0] * x + row[1] * y + row[2] * z);
        const near = EYE * reach / (EYE * reach - w);
        return [wide / 2 + u * unit * near, tall / 2 - v * unit * near, w, near];
      };
      const haze = depth => 0.34 * (1 - (depth / reach + 1) / 2); // what is far fades towards the paper
      const items = [];
      for (const edge of edges) {
        const [a, b] = [seen(edge.from), seen(edge.to)];
        items.push([(a[2] + b[2]) / 2, () => this.stroke(pen, a, b, css(mixed(ink, paper, haze(a[2]))), 1.1)]);
      }
      for (const stick of sticks) {
        const [a, b] = [seen(stick.from), seen(stick.to)];
        const depth = (a[2] + b[2]) / 2, thick = 2 * BOND * unit * a[3];
        items.push([depth - 0.01, () => {
          this.stroke(pen, a, b, css(mixed(mixed(stick.colour, [0, 0, 0], 0.38), paper, haze(depth))), thick + 1.4);
          this.stroke(pen, a, b, css(mixed(stick.colour, paper, haze(depth))), thick);
        }]);
      }
      for (const atom of atoms) {
        const [x, y, depth, near] = seen(atom.at);
        items.push([depth, () => this.ball(pen, x, y, atom.radius * unit * near, mixed(atom.colour, paper, haze(depth)))]);
      }
      items.sort((a, b) => a[0] - b[0]);
      for (const [, paint] of items) paint();
    }
    stroke(pen, a, b, colour, width) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.lineCap = "butt";
      pen.beginPath();
      pen.moveTo(a[0], a[1]);
      pen.lineTo(b[0], b[1]);
      pen.stroke();
    }
    ball(pen, x, y, radius, colour) {
      const light = pen.createRadialGradient(x - radius * 0.35, y - radius * 0.4, radius * 0.1, x, y, radius);
      light.addColorStop(0, css(mixed(colour, [255, 255, 255], 0.72)));
      light.addColorStop(0.45, css(colour));
      light.addColorStop(1, css(mixed(colour, [0, 0, 0], 0.42)));
      pen.fillStyle = light;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  for (const legend of document.querySelectorAll("[data-legend]")) {
    const scene = scenes[legend.dataset.legend];
    if (!scene) continue;
    for (const symbol of scene.elements) {
      const entry = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = palette[symbol].colour;
      entry.append(dot, symbol);
      legend.append(entry);
    }
  }
  const viewers = new Map();
  function show(canvas) {
    if (!scenes[canvas.dataset.scene]) return;
    if (!viewers.has(canvas)) viewers.set(canvas, new Viewer(canvas));
    viewers.get(canvas).draw();
  }
  const redraw = () => viewers.forEach(viewer => viewer.draw());
  const watcher = new ResizeObserver(entries => entries.forEach(e => { if (e.contentRect.width) show(e.target); }));
  document.querySelectorAll("canvas[data-scene]").forEach(canvas => watcher.observe(canvas));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  for (const moment of ["beforeprint", "afterprint"]) addEventListener(moment, () => requestAnimationFrame(redraw));
})();
