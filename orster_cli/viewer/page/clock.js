// `state`: time in [0,1], speed, playing; `ends()`: loop, bounce or once.

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

class Clock {
  constructor(state, ends) {
    Object.assign(this, { state, ends, direction: 1, stale: true });
  }

  advance(part) {
    const { state } = this, ends = this.ends();
    if (ends !== "bounce") this.direction = 1;
    let time = state.time + this.direction * part * state.speed;
    if (ends === "loop") time = ((time % 1) + 1) % 1;
    else if (time > 1 || time < 0) {
      time = clamp(time, 0, 1);
      if (ends === "bounce") this.direction = time ? -1 : 1;
      else this.play(false);
    }
    state.time = time;
    this.stale = true;
  }

  play(on) {
    const { state } = this, ends = this.ends();
    if (on && ends === "once" && state.time >= 1) state.time = 0;
    state.playing = Number(on);
    this.stale = true;
  }
}
