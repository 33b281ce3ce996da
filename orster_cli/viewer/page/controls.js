// Camera, clock and controls of the page.

const RADIANS = Math.PI / 180;
const SLOPE = Math.tan((39.6 / 2) * RADIANS); // of the field of view, across the shorter side
const KEYS = [
  ["drag, arrow keys", "turn"],
  ["right drag, two fingers, Shift + arrows", "move"],
  ["wheel, pinch, + and -", "zoom"],
  ["Space", "play or pause"],
  [", and .", "one frame back or on"],
  ["R", "the first view"],
  ["B", "next background"],
  ["S", "save a picture"],
  ["I", "figures"],
  ["H", "hide or show the controls"],
];
const GROUNDS = { white: "#ffffff", grey: "#808080", black: "#000000" };

const byId = (id) => document.getElementById(id);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

class Viewer extends Clock {
  constructor(motion, about) {
    const home = { azimuth: 30, elevation: 10, distance: 2, x: 0, y: 0, z: 0 };
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const state = { ...home, time: 0, speed: 1, playing: still ? 0 : 1 };
    for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
      if (name in state && value !== "" && isFinite(value)) state[name] = Number(value);
    state.time = clamp(state.time, 0, 1);
    super(state, () => byId("repeat").value);
    Object.assign(this, { motion, about, home, canvas: byId("view"), frames: [], script: [] });
    this.renderer = new Renderer(this.canvas, motion);
    this.listen();
    this.fit();
    this.tick = this.tick.bind(this);
    requestAnimationFrame(this.tick);
  }

  // The camera looks at (x, y, z): 16 numbers by rows, OpenCV axes, world +Z up.
  pose() {
    const { azimuth, elevation, distance, x, y, z } = this.state;
    const a = azimuth * RADIANS, e = elevation * RADIANS;
    const forward = [-Math.cos(e) * Math.sin(a), Math.cos(e) * Math.cos(a), -Math.sin(e)];
    const right = [Math.cos(a), Math.sin(a), 0];
    const down = [Math.sin(e) * Math.sin(a), -Math.sin(e) * Math.cos(a), -Math.cos(e)];
    const at = forward.map((f, i) => [x, y, z][i] - distance * f);
    const rows = [right, down, forward].map((row) => [...row, -dot(row, at)]);
    return { w2c: [...rows.flat(), 0, 0, 0, 1], right, down };
  }

  get focal() {
    return (0.5 * Math.min(this.canvas.width, this.canvas.height)) / SLOPE;
  }

  ground() {
    const name = byId("ground").value;
    if (name === "none") return [0, 0, 0, 0];
    const style = getComputedStyle(document.documentElement);
    const page = style.getPropertyValue("--paper").trim();
    const text = name === "own" ? byId("colour").value : GROUNDS[name] || page;
    return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255).concat(1);
  }

  fit() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.max(Math.round(this.canvas.clientWidth * ratio), 1);
    const height = Math.max(Math.round(this.canvas.clientHeight * ratio), 1);
    const { renderer } = this;
    if (width !== renderer.width || height !== renderer.height) renderer.resize(width, height);
    this.stale = true;
  }

  draw() {
    const began = performance.now();
    this.renderer.draw(this.pose().w2c, this.focal, this.state.time, this.ground());
    if (this.script.push(performance.now() - began) > 60) this.script.shift();
    this.stale = false;
  }

  tick(now) {
    const passed = Math.min((now - (this.before ?? now)) / 1000, 0.25);
    this.before = now;
    if (this.state.playing) this.advance(passed / this.about.seconds);
    else this.frames = [];
    if (this.stale) {
      this.draw();
      if (this.frames.push(now) > 60) this.frames.shift();
      document.body.classList.add("drawn");
      this.show(now);
    }
    requestAnimationFrame(this.tick);
  }

  show(now) {
    const { time, playing } = this.state, seconds = time * this.about.seconds;
    byId("time").value = time;
    byId("time").setAttribute("aria-valuetext", `${seconds.toFixed(2)} of ${this.about.seconds.toFixed(2)} seconds`);
    byId("clock").textContent = `${seconds.toFixed(2)} s`;
    byId("play").classList.toggle("playing", Boolean(playing));
    byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    byId("colour").hidden = byId("ground").value !== "own";
    document.body.classList.toggle("clear", byId("ground").value === "none");
    if (byId("figures").hidden || now - (this.said ?? -1e9) < 250) return;
    this.said = now;
    const { count, width, height } = this.renderer, { knots } = this.motion.head;
    const mean = this.script.reduce((a, b) => a + b, 0) / this.script.length;
    const rate = ((this.frames.length - 1) * 1000) / (now - this.frames[0]);
    byId("figures").textContent = [
      `${count.toLocaleString("en")} Gaussians, ${knots} knots in time`,
      `${width} x ${height} pixels, script ${mean.toFixed(1)} ms` + (rate > 0 ? `, ${rate.toFixed(0)} frames/s` : ""),
      ...this.about.figures,
    ].join("\n");
  }

  turn(dx, dy) {
    this.state.azimuth -= dx;
    this.state.elevation = clamp(this.state.elevation + dy, -90, 90);
    this.stale = true;
  }

  move(dx, dy) {
    const { right, down } = this.pose(), size = this.state.distance / this.focal;
    ["x", "y", "z"].forEach((axis, i) => (this.state[axis] -= size * (dx * right[i] + dy * down[i])));
    this.stale = true;
  }

  zoom(factor) {
    this.state.distance = clamp(this.state.distance * factor, 0.1, 20);
    this.stale = true;
  }

  step(frames) {
    this.play(false);
    this.state.time = clamp(this.state.time + frames / Math.max(this.about.frames - 1, 1), 0, 1);
  }

  reset() {
    Object.assign(this.state, this.home);
    this.stale = true;
  }

  save() {
    this.draw();
    this.canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${this.about.name}-${this.state.time.toFixed(2)}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  figures() {
    const box = byId("figures"), hidden = (box.hidden = !box.hidden);
    byId("info").setAttribute("aria-pressed", String(!hidden));
    this.said = undefined;
    this.stale = true;
  }

  nextGround() {
    const ground = byId("ground");
    ground.selectedIndex = (ground.selectedIndex + 1) % ground.length;
    this.stale = true;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    const kind = event.target.tagName, arrow = event.key.startsWith("Arrow"), space = event.key === " ";
    const own = { SELECT: true, INPUT: arrow || space, BUTTON: space }; // its keys
    if (own[kind]) return;
    const steps = { Left: [-1, 0], Right: [1, 0], Up: [0, -1], Down: [0, 1] };
    const act = {
      " ": () => this.play(!this.state.playing),
      ",": () => this.step(-1), ".": () => this.step(1),
      "+": () => this.zoom(1 / 1.1), "=": () => this.zoom(1 / 1.1), "-": () => this.zoom(1.1),
      r: () => this.reset(), b: () => this.nextGround(), s: () => this.save(), i: () => this.figures(),
      h: () => document.body.classList.toggle("bare"), "?": () => byId("keys").showModal(),
    }[event.key.toLowerCase()];
    if (arrow) {
      const [dx, dy] = steps[event.key.slice(5)];
      if (event.shiftKey) this.move(20 * dx, 20 * dy);
      else this.turn(6 * dx, 6 * dy);
    } else if (act) act();
    else return;
    event.preventDefault();
  }

  listen() {
    const { canvas } = this, pointers = new Map();
    const middle = () => {
      const [a, b] = [...pointers.values()];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, gap: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId), ratio = canvas.width / canvas.clientWidth;
      if (!before) return;
      const pinch = pointers.size === 2 && middle();
      const dx = event.clientX - before.x, dy = event.clientY - before.y;
      Object.assign(before, { x: event.clientX, y: event.clientY });
      if (pinch) {
        const now = middle();
        this.move((now.x - pinch.x) * ratio, (now.y - pinch.y) * ratio);
        this.zoom(pinch.gap / now.gap);
      } else if (event.buttons & 6 || event.shiftKey) this.move(dx * ratio, dy * ratio);
      else this.turn(0.4 * dx, 0.4 * dy);
    });
    for (const kind of ["pointerup", "pointercancel"])
      canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode ? 30 : 1;
      this.zoom(Math.exp(clamp(event.deltaY * lines, -200, 200) * 0.0015));
    }, { passive: false });
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.renderer = new Renderer(canvas, this.motion);
      this.fit();
    });
    addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.stale = true));

    const press = {
      play: () => this.play(!this.state.playing), home: () => this.reset(), save: () => this.save(),
      info: () => this.figures(), help: () => byId("keys").showModal(),
    };
    for (const id in press) byId(id).addEventListener("click", press[id]);
    byId("time").addEventListener("input", () => {
      this.play(false);
      this.state.time = Number(byId("time").value);
    });
    byId("speed").addEventListener("input", () => (this.state.speed = Number(byId("speed").value)));
    byId("bar").addEventListener("input", () => (this.stale = true));
    for (const [keys, what] of KEYS) {
      const row = byId("list").insertRow();
      row.insertCell().textContent = keys;
      row.insertCell().textContent = what;
    }
  }
}

async function start() {
  try {
    const motion = await readMotion(byId("motion").textContent);
    window.orster = new Viewer(motion, JSON.parse(byId("about").textContent));
  } catch (error) {
    byId("message").textContent = `Only a still picture: ${error.message}.`;
    byId("message").hidden = false;
    document.body.classList.add("still");
  }
}
start();
