// Videos that play in step, frame by frame. The page is readable without this script: the videos have
// their own controls then.
const HELP = "Space: play or pause. Comma, period or arrows: one frame. Home, End: first, last. L: loop.";

const PATIENCE = 1000; // ms until a frame is taken as presented

// Resolves when the frame at the time `at` is on the screen, which may be after the event "seeked".
const presented = (video, at, length) => new Promise((resolve) => {
  if (!video.requestVideoFrameCallback) return resolve();
  const look = (now, { mediaTime }) => {
    if (Math.abs(mediaTime + length / 2 - at) < 0.6 * length) resolve();
    else video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  return setTimeout(resolve, PATIENCE);
});

// The frames of a video as bitmaps: what a <video> shows while it is sought is not always that frame.
async function decode(video, count) {
  const event = (name) => new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", reject, { once: true });
  });
  if (video.error) throw video.error;
  if (video.readyState < 1) await event("loadedmetadata");
  video.pause();
  const frames = [], length = video.duration / count;
  for (let i = 0; i < count; i++) {
    const sought = event("seeked"), seen = presented(video, (i + 0.5) * length, length);
    video.currentTime = (i + 0.5) * length;
    await sought;
    await seen;
    if (video.readyState < 2) await event("canplay");
    frames.push(await createImageBitmap(video));
  }
  return frames;
}

class ClipPlayer extends Clock {
  constructor(figure, marks) {
    const bar = figure.querySelector(".transport"), part = (name) => bar.querySelector("." + name);
    super({ time: 0, speed: 1, playing: 0 }, () => part("repeat").value);
    this.videos = [...figure.querySelectorAll("video")];
    Object.assign(this, { figure, bar, part, marks, seen: false, length: 0, drawn: -1 });
    this.count = Number(figure.dataset.frames);
    this.difference = figure.querySelector(".difference");
    bar.title = HELP;
    part("play").addEventListener("click", () => this.play(!this.state.playing));
    part("time").addEventListener("input", () => this.seek(Number(part("time").value)));
    part("speed").addEventListener("input", () => (this.state.speed = Number(part("speed").value)));
  }

  // Holds the frames while the clip is in sight. A video that cannot be played keeps its own controls.
  async watch(seen) {
    this.seen = seen;
    if (!seen) this.release();
    if (!seen || this.frames || this.loading) return;
    this.loading = true;
    try {
      const frames = await Promise.all(this.videos.map((video) => decode(video, this.count)));
      this.length = Math.max(...this.videos.map((video) => video.duration));
      this.show(frames);
    } catch {
      this.figure.classList.add("unplayable");
    }
    this.loading = false;
    if (!this.seen) this.release();
  }

  show(frames) {
    this.canvases ??= this.videos.map((video) => {
      const canvas = document.createElement("canvas");
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", video.getAttribute("aria-label"));
      video.after(canvas);
      video.controls = false;
      video.setAttribute("aria-hidden", "true");
      video.classList.add("behind"); // still on the screen, or it would present no frames
      return canvas;
    });
    this.frames = frames;
    this.bar.hidden = false;
    this.drawn = -1;
    this.stale = true;
  }

  release() {
    this.frames?.flat().forEach((bitmap) => bitmap.close());
    this.frames = null;
  }

  // Frame 0, 1, ... that is shown.
  get frame() {
    return Math.min(Math.floor(this.state.time * this.count), this.count - 1);
  }

  seek(time) {
    this.state.time = clamp(time, 0, 1);
    this.play(false);
  }

  step(frames) {
    const at = clamp(this.frame + frames, 0, this.count - 1);
    this.seek((at + 0.5) / this.count);
  }

  tick(passed) {
    if (this.state.playing && this.frames) this.advance(passed / this.length);
    if (!this.stale || !this.frames) return;
    this.stale = false;
    const { time, playing } = this.state, { part } = this, said = `frame ${this.frame + 1} of ${this.count}`;
    if (this.frame !== this.drawn) this.draw(this.frame);
    part("time").value = time;
    part("time").setAttribute("aria-valuetext", said);
    part("clock").textContent = said;
    part("play").classList.toggle("playing", Boolean(playing));
    part("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    if (!this.chosen) return;
    for (const mark of this.marks) { // this moment in the curves
      const last = Math.max(mark.dataset.frames - 1, 1);
      const at = Math.min(Math.floor(time * mark.dataset.frames), last);
      mark.setAttribute("transform", `translate(${(at / last) * mark.dataset.length})`);
      mark.setAttribute("visibility", "visible");
    }
  }

  // All pictures at once, so that they are of the same moment.
  draw(frame) {
    const bitmaps = this.frames.map((one) => one[frame]), [ours, reference] = bitmaps;
    this.canvases.forEach((canvas, i) => canvas.getContext("2d").drawImage(bitmaps[i], 0, 0));
    this.drawn = frame;
    if (!this.difference || ours.width !== reference.width || ours.height !== reference.height) return;
    const canvas = this.difference.querySelector("canvas"), context = canvas.getContext("2d");
    if (this.difference.hidden) {
      canvas.width = ours.width;
      canvas.height = ours.height;
      this.difference.hidden = false;
    }
    context.globalCompositeOperation = "copy";
    context.drawImage(reference, 0, 0);
    context.globalCompositeOperation = "difference";
    context.drawImage(ours, 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height); // inverts: white where the two are equal
  }

  loop() {
    const select = this.part("repeat");
    select.value = select.value === "loop" ? "once" : "loop";
  }

  key(event) {
    const kind = event.target.tagName, space = event.key === " ";
    const slider = kind === "INPUT" && /^(Arrow|Home|End|Page)/.test(event.key);
    if (kind === "SELECT" || (kind === "BUTTON" && space) || slider) return; // its own keys
    const act = {
      " ": () => this.play(!this.state.playing),
      ",": () => this.step(-1), ".": () => this.step(1),
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1),
      Home: () => this.seek(0), End: () => this.seek(1),
      l: () => this.loop(), L: () => this.loop(),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }
}

const marks = [...document.querySelectorAll(".plot .now")];
const players = [...document.querySelectorAll(".clips figure")].map((figure) => new ClipPlayer(figure, marks));
if (players.length) {
  const all = document.getElementById("player"), button = all.querySelector("button");
  const choose = (player) => players.forEach((one) => { one.chosen = one === player; one.stale = true; });
  choose(players[0]);
  for (const player of players) {
    player.figure.addEventListener("pointerdown", () => choose(player));
    player.figure.addEventListener("focusin", () => choose(player));
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const player = players.find((one) => one.figure.contains(event.target));
    if (player) player.key(event);
    else if (event.target === document.body) players.find((one) => one.chosen).key(event);
  });
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      players.find((one) => one.figure === target).watch(isIntersecting);
    }
  }, { rootMargin: "300px" });
  players.forEach((player) => watch.observe(player.figure));
  all.hidden = players.length < 2;
  button.addEventListener("click", () => {
    const on = !players.some((player) => player.state.playing);
    for (const player of players) {
      if (on) player.state.time = 0; // from here on at the same moment
      player.play(on);
    }
  });
  let before = performance.now(), told = null;
  const tick = (now) => {
    const passed = clamp((now - before) / 1000, 0, 0.25), playing = players.some((one) => one.state.playing);
    before = now;
    players.forEach((player) => player.tick(passed));
    if (playing !== told) button.textContent = playing ? "Pause all" : "Play all";
    told = playing;
    requestAnimationFrame(tick);
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  players.forEach((player) => player.play(!still));
  requestAnimationFrame(tick);
  window.orster = { players };
}
