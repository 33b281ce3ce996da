// Tables that sort, and videos that play in step. The page is readable without this script:
// the table has its order, the videos have their own controls.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const first = head.dataset.better === "higher" ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = before === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const one = value(a), two = value(b);
        if (column === 0) return sign * one.localeCompare(two, undefined, {numeric: true});
        if (one === "" || two === "") return (one === "") - (two === "");  // not defined: last
        return sign * (Number(one) - Number(two));
      });
      table.tBodies[0].append(...rows);
    });
  });
}

const videos = [...document.querySelectorAll("video")];
const player = document.getElementById("player");
if (player && videos.length) {
  const button = player.querySelector("button");
  const slider = player.querySelector("input");
  const clock = player.querySelector("output");
  const seen = new Set();
  let playing = false, phase = 0, before = 0, seconds = 0;  // phase: the part of a clip, in [0,1)

  const marks = [...document.querySelectorAll(".plot .now")];  // this moment in the curves
  const show = () => {
    slider.value = Math.round(phase * 1000);
    clock.textContent = "time " + phase.toFixed(2);
    for (const mark of marks) {
      const last = Math.max(mark.dataset.frames - 1, 1);
      const frame = Math.min(Math.floor(phase * mark.dataset.frames), last);
      mark.setAttribute("transform", `translate(${frame / last * mark.dataset.length})`);
      mark.setAttribute("visibility", "visible");
    }
  };
  const differences = [...document.querySelectorAll(".difference")].map((part) => {
    const canvas = part.querySelector("canvas");
    const [ours, reference] = part.parentElement.querySelectorAll("video");
    return {part, canvas, ours, reference};
  });
  const subtract = ({part, canvas, ours, reference}) => {
    if (ours.readyState < 2 || reference.readyState < 2) return;
    if (ours.videoWidth !== reference.videoWidth || ours.videoHeight !== reference.videoHeight) return;
    if (Math.abs(ours.currentTime - reference.currentTime) > 0.03) return;  // not the same moment
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
    context.fillRect(0, 0, canvas.width, canvas.height);  // inverts: white where the two are equal
    part.hidden = false;
  };
  for (const one of differences) {
    for (const video of [one.ours, one.reference]) {
      for (const event of ["loadeddata", "seeked"]) video.addEventListener(event, () => subtract(one));
    }
  }
  const place = (video) => {
    if (video.duration) video.currentTime = Math.min(phase * video.duration, video.duration - 1e-3);
  };
  const follow = (video) => {
    if (playing && seen.has(video)) video.play().catch(() => {});
    else video.pause();
  };
  const set = (value) => {
    playing = value;
    button.textContent = playing ? "Pause" : "Play";
    before = performance.now();
    videos.forEach(follow);
    if (!playing) seen.forEach(place);
    if (playing) requestAnimationFrame(step);
  };
  const step = (now) => {
    if (!playing) return;
    if (seconds) phase = (phase + Math.max(now - before, 0) / 1000 / seconds) % 1;
    before = now;
    for (const video of seen) {
      if (!video.duration || video.seeking) continue;
      const length = video.duration;
      let drift = video.currentTime - phase * length;
      drift -= Math.round(drift / length) * length;  // the end is beside the start
      if (Math.abs(drift) > 0.12) place(video);
    }
    for (const one of differences) if (seen.has(one.ours)) subtract(one);
    show();
    requestAnimationFrame(step);
  };
  const watch = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) {
      if (isIntersecting) { seen.add(target); place(target); } else seen.delete(target);
      follow(target);
    }
  }, {rootMargin: "100px"});
  for (const video of videos) {
    video.controls = false;
    const ready = () => {
      seconds = Math.max(seconds, video.duration);
      for (const one of videos) {
        if (one.duration) one.playbackRate = Math.min(Math.max(one.duration / seconds, 0.1), 10);
      }
      place(video);
    };
    if (video.readyState >= 1) ready(); else video.addEventListener("loadedmetadata", ready);
    watch.observe(video);
  }
  button.addEventListener("click", () => set(!playing));
  slider.addEventListener("input", () => {
    phase = Math.min(Number(slider.value) / 1000, 0.999);
    set(false);
    show();
  });
  player.hidden = false;
  show();
  set(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}
