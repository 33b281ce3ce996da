// Videos that play in step, frame by frame. The page is readable without this script: the videos have
// their own controls then.
const HELP = "Space: play or pause. Comma, period or arrows: one frame. Home, End: first, last. L: loop.";

class ClipPlayer extends Clock {
  constructor(figure, marks) {
    const bar = figure.querySelector(".transport"), part = (name) => bar.querySelector("." + name);
    super({ time: 0, speed: 1, playing: 0 }, () => part("repeat").value);
    Object.assign(this, { figure, bar, part, marks, seen: false, length: 0 });
    this.videos = [...figure.querySelectorAll("video")];
    this.count = Number(figure.dataset.frames) || 24;
    const difference = figure.querySelector(".difference");
    if (difference) this.difference = { box: difference, canvas: difference.querySelector("canvas") };
    for (const video of this.videos) {
      video.controls = video.loop = false;
      const ready = () => { this.length = Math.max(this.length, video.duration); this.follow(); };
      if (video.readyState >= 1) ready();
      else video.addEventListener("loadedmetadata", ready);
      for (const event of ["loadeddata", "seeked"]) video.addEventListener(event, () => this.subtract());
    }
    bar.hidden = false;
    bar.title = HELP;
    part("play").addEventListener("click", () => this.play(!this.state.playing));
    part("time").addEventListener("input", () => this.seek(Number(part("time").value)));
    part("speed").addEventListener("input", () => { this.state.speed = Number(part("speed").value); this.follow(); });
  }

  // Frame 0, 1, ... that is shown.
  get frame() {
    return Math.min(Math.floor(this.state.time * this.count), this.count - 1);
  }

  // Whether the videos run by themselves: forwards, all at one pace.
  get runs() {
    return this.state.playing && this.seen && this.direction > 0;
  }

  play(on) {
    super.play(on);
    this.follow();
  }

  seek(time) {
    this.state.time = clamp(time, 0, 1);
    this.play(false);
  }

  step(frames) {
    const at = clamp(this.frame + frames, 0, this.count - 1);
    this.seek((at + 0.5) / this.count);
  }

  // Puts a video at the middle of the frame that is shown.
  place(video) {
    if (!video.duration) return;
    const at = ((this.frame + 0.5) / this.count) * video.duration;
    if (Math.abs(video.currentTime - at) > 1e-3) video.currentTime = at;
  }

  follow() {
    for (const video of this.videos) {
      if (video.duration && this.length) {
        video.playbackRate = clamp((this.state.speed * video.duration) / this.length, 0.0625, 16);
      }
      if (this.runs) video.play().catch(() => {});
      else {
        video.pause();
        this.place(video);
      }
    }
    this.stale = true;
  }

  tick(passed) {
    if (this.state.playing && this.length) {
      const direction = this.direction, before = this.state.time;
      this.advance(passed / this.length);
      const turned = direction !== this.direction || this.state.time < before;
      if (turned && this.state.playing) this.follow();
      for (const video of this.seen ? this.videos : []) {
        if (!video.duration || video.seeking) continue;
        const drift = Math.abs(video.currentTime / video.duration - this.state.time) * video.duration;
        if (!this.runs || turned || drift > 0.12 || video.paused) {
          this.place(video);
          if (this.runs && video.paused) video.play().catch(() => {});
        }
      }
      this.subtract();
    }
    if (this.stale) this.show();
  }

  show() {
    const { time, playing } = this.state, { part } = this, count = `frame ${this.frame + 1} of ${this.count}`;
    part("time").value = time;
    part("time").setAttribute("aria-valuetext", count);
    part("clock").textContent = count;
    part("play").classList.toggle("playing", Boolean(playing));
    part("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    this.stale = false;
    if (!this.chosen) return;
    for (const mark of this.marks) { // this moment in the curves
      const last = Math.max(mark.dataset.frames - 1, 1);
      const at = Math.min(Math.floor(time * mark.dataset.frames), last);
      mark.setAttribute("transform", `translate(${(at / last) * mark.dataset.length})`);
      mark.setAttribute("visibility", "visible");
    }
  }

  // White where the two pictures are equal.
  subtract() {
    const [ours, reference] = this.videos;
    if (!this.difference || ours.readyState < 2 || reference.readyState < 2) return;
    if (ours.videoWidth !== reference.videoWidth || ours.videoHeight !== reference.videoHeight) return;
    if (Math.abs(ours.currentTime - reference.currentTime) > 0.03) return; // not the same moment
    const { box, canvas } = this.difference;
    if (canvas.width !== ours.videoWidth || canvas.height !== ours.videoHeight) {
      canvas.width = ours.videoWidth;
      canvas.height = ours.videoHeight;
    }
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(reference, 0, 0);
    context.globalCompositeOperation = "difference";
    context.drawImage(ours, 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height); // inverts
    box.hidden = false;
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
      const player = players.find((one) => one.figure === target);
      player.seen = isIntersecting;
      player.follow();
    }
  }, { rootMargin: "100px" });
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
