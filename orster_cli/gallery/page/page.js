// The gallery: cards that follow what is on the disk, and a page for each artifact. Texts come from files
// that others may have written, so they only ever become text nodes, never HTML.
"use strict";
const byId = (id) => document.getElementById(id);
const KINDS = ["asset", "clip", "report", "dataset", "model"];
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const state = { artifacts: [], root: "", cards: -1, kind: "", text: "" };
const shown = new Map(); // key -> { element, json }

function make(tag, values = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const isDraft = (one) => one.state === "being made" || one.state === "stopped";
const address = (one) => `#${one.key}`;
const fileOf = (one, path) => `/file/${one.key}/${path.split("/").map(encodeURIComponent).join("/")}`;
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function sizeText(bytes) {
  for (const [unit, one] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (bytes >= one) return `${Number((bytes / one).toPrecision(3))} ${unit}`;
  return `${bytes} bytes`;
}

function clockText(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole} s`;
}

function dateText(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// -- where an artifact comes from, and what became of it

function relatives(one) {
  const known = new Map(state.artifacts.map((other) => [other.key, other]));
  const found = new Map([[one.key, one]]);
  const up = [one];
  while (up.length)
    for (const parent of up.pop().parents ?? [])
      if (parent.key && known.has(parent.key) && !found.has(parent.key)) {
        found.set(parent.key, known.get(parent.key));
        up.push(known.get(parent.key));
      }
  const down = [one], seen = new Set([one.key]);
  while (down.length) {
    const key = down.pop().key;
    for (const other of state.artifacts)
      if (!seen.has(other.key) && (other.parents ?? []).some((parent) => parent.key === key)) {
        seen.add(other.key);
        found.set(other.key, other);
        down.push(other);
      }
  }
  return [...found.values()];
}

// prompt -> clip -> asset -> report; `names`: each by its name instead of a count
function lineage(one, names) {
  const all = relatives(one), line = make("div", { className: "line" });
  line.setAttribute("aria-label", "Made from and into");
  const prompts = [...new Set(all.map((other) => other.prompt).filter(Boolean))];
  const sources = one.kind === "model" || one.kind === "dataset" ? [] : prompts;
  if (sources.length === 1) line.append(make("span", { className: "prompt" }, `“${sources[0]}”`));
  for (const kind of ["dataset", "model", "clip", "asset", "report"]) {
    const group = all.filter((other) => other.kind === kind);
    if (!group.length) continue;
    const step = make("span");
    if (group.length === 1 || (names && group.length <= 12)) {
      group.forEach((other, i) => {
        const label = names ? other.name : kind;
        if (i) step.append(", ");
        step.append(other.key === one.key ? make("span", { className: "here" }, label)
          : make("a", { href: address(other), title: other.name }, label));
      });
    } else step.append(kind === one.kind ? make("span", { className: "here" }, plural(group.length, kind)) : plural(group.length, kind));
    line.append(step);
  }
  return line.childElementCount > 1 ? line : null;
}

// -- moving pictures

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (target.tagName === "IFRAME") {
      const wanted = isIntersecting ? target.dataset.src : "about:blank"; // a browser draws few at a time
      if (target.dataset.now !== wanted) target.src = target.dataset.now = wanted;
    } else if (isIntersecting && !still) target.play().catch(() => {});
    else target.pause();
  }
}, { rootMargin: "80px" });

function frameOf(one, path, options = {}) {
  const frame = make("iframe", { title: `${one.name}: ${path}`, ...options });
  frame.setAttribute("sandbox", "allow-scripts allow-downloads");
  frame.setAttribute("referrerpolicy", "no-referrer");
  return frame;
}

function thumbnail(one) {
  const plate = make("a", { className: "plate", href: address(one), tabIndex: -1 });
  plate.setAttribute("aria-hidden", "true");
  const files = one.shows ?? {};
  if (files.video) {
    const video = make("video", { src: fileOf(one, files.video), muted: true, loop: true, playsInline: true, preload: "metadata" });
    plate.classList.toggle("half", one.kind === "asset"); // on the left the orbit, on the right a fixed view
    plate.append(video);
    watcher.observe(video);
    plate.addEventListener("pointerenter", () => video.play().catch(() => {}));
  } else if (files.page === "viewer.html") {
    const frame = frameOf(one, files.page, { tabIndex: -1 });
    frame.dataset.src = fileOf(one, files.page);
    plate.append(frame);
    watcher.observe(frame);
  } else if (files.picture) {
    const image = make("img", { alt: "", loading: "lazy" });
    // of a wide sheet the middle, large enough to see
    image.addEventListener("load", () => plate.classList.toggle("wide", files.picture.endsWith("sheet.png") && image.naturalWidth > 1.3 * image.naturalHeight));
    image.src = fileOf(one, files.picture);
    plate.append(image);
  }
  else plate.append(make("span", { className: "empty" }, one.error ? "cannot be read" : "no picture"));
  plate.append(badge(one));
  return plate;
}

function badge(one) {
  const name = { "being made": "making", stopped: "stopped", damaged: "damaged" }[one.state] ?? "";
  const label = one.state === "complete" ? one.kind : one.kind ? `${one.kind}, ${one.state}` : one.state;
  return make("span", { className: `badge ${name}` }, label);
}

// -- cards

function card(one) {
  const article = make("article", { className: "card" });
  article.dataset.key = one.key;
  if (isDraft(one)) {
    article.append(make("div", { className: "plate" }), title(one), make("div", { className: "live" }));
    updateDraft(article, one);
    return article;
  }
  article.append(thumbnail(one), title(one));
  if (one.error) article.append(make("p", { className: "warning" }, one.error));
  if (one.headline) article.append(make("p", { className: "soft" }, one.headline));
  const line = lineage(one, false);
  if (line) article.append(line);
  return article;
}

const title = (one) => make("h2", {}, make("a", { href: address(one) }, one.name));

function updateDraft(element, one) {
  const plate = element.querySelector(".plate"), live = element.querySelector(".live");
  const progress = one.progress;
  let image = plate.querySelector("img");
  if (progress?.picture) {
    const source = `/live/${one.key}/latest.png?at=${progress.picture}`;
    if (!image) {
      image = make("img", { alt: "input on the left, the fit so far on the right" });
      if (one.kind !== "asset") image.alt = "the latest samples";
    }
    if (image.getAttribute("src") !== source) image.src = source;
    plate.replaceChildren(image, badge(one));
  } else plate.replaceChildren(make("span", { className: "empty" }, "no picture yet"), badge(one));
  const parts = [];
  if (progress?.total) {
    const percent = Math.floor((100 * progress.done) / progress.total);
    const bar = make("progress", { max: progress.total, value: progress.done });
    bar.setAttribute("aria-label", `${one.name}: ${progress.stage}`);
    const left = one.state === "being made" && progress.eta_s !== null && progress.done < progress.total
      ? `, ${clockText(progress.eta_s)} left` : "";
    parts.push(bar, make("p", {}, `${progress.stage} ${progress.done}/${progress.total}, ${percent} %${left}`));
    const figures = Object.entries(progress.figures).map(([name, value]) => `${name} ${value}`).join(", ");
    if (figures) parts.push(make("p", { className: "soft" }, figures));
    if (progress.points.length > 1) parts.push(curve(progress));
  } else parts.push(make("p", { className: "soft" }, one.state === "being made" ? "no word yet" : ""));
  if (one.state === "stopped")
    parts.push(make("p", { className: "warning" }, "No process writes it: run the same command again, and it goes on."));
  live.replaceChildren(...parts);
}

function curve(progress) {
  const points = progress.points, space = "http://www.w3.org/2000/svg";
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const low = Math.min(...ys), high = Math.max(...ys), last = Math.max(...xs, 1);
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "curve");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const label = document.createElementNS(space, "title");
  label.textContent = `${progress.curve}: ${Number(low.toPrecision(4))} to ${Number(high.toPrecision(4))} over ${last} steps`;
  svg.append(label);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.map(([x, y]) =>
    `${((100 * x) / last).toFixed(2)},${(38 - (36 * (y - low)) / (high - low || 1)).toFixed(2)}`).join(" "));
  svg.append(line);
  return svg;
}

function matches(one) {
  if (state.kind === "making" ? !isDraft(one) : state.kind && one.kind !== state.kind) return false;
  const text = [one.name, one.kind, one.state, one.prompt, one.headline, one.id, ...(one.inputs ?? []),
    ...relatives(one).map((other) => other.prompt), ...(one.parents ?? []).map((parent) => parent.name)]
    .join("\n").toLowerCase();
  return state.text.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function showCards() {
  const wanted = state.artifacts.filter(matches), grid = byId("cards");
  const keys = new Set(wanted.map((one) => one.key));
  for (const element of [...grid.children]) if (!keys.has(element.dataset.key)) element.remove();
  const known = new Map(state.artifacts.map((one) => [one.key, one]));
  for (const key of shown.keys()) if (!known.has(key)) shown.delete(key);
  wanted.forEach((one, i) => {
    const related = isDraft(one) ? [] : relatives(one).map((other) => other.key);
    const json = JSON.stringify(isDraft(one) ? [one.key, one.name] : [one, related]);
    let found = shown.get(one.key);
    if (!found || found.json !== json) {
      found?.element.remove();
      found = { element: card(one), json };
      shown.set(one.key, found);
    } else if (isDraft(one)) updateDraft(found.element, one);
    if (grid.children[i] !== found.element) grid.insertBefore(found.element, grid.children[i] ?? null);
  });
  const note = byId("note");
  note.hidden = wanted.length > 0 && !state.leftOut;
  note.textContent = state.leftOut || (state.artifacts.length ? "Nothing matches the filter."
    : "No artifacts here yet. They appear as commands write them.");
  showKinds();
}

function showKinds() {
  const box = byId("kinds");
  const making = state.artifacts.filter(isDraft).length;
  const options = [["", "all", state.artifacts.length], ...KINDS.map((kind) => [kind, `${kind}s`, state.artifacts.filter((one) => one.kind === kind).length])];
  if (making || state.kind === "making") options.push(["making", "unfinished", making]);
  const json = JSON.stringify([options, state.kind]);
  if (box.dataset.json === json) return;
  box.dataset.json = json;
  const focused = box.contains(document.activeElement);
  box.replaceChildren(...options.filter(([kind, , n]) => n || !kind || kind === state.kind).map(([kind, label, n]) => {
    const button = make("button", { type: "button" }, label, make("b", {}, String(n)));
    button.setAttribute("aria-pressed", String(kind === state.kind));
    button.addEventListener("click", () => { state.kind = kind; showCards(); });
    return button;
  }));
  if (focused) box.querySelector('[aria-pressed="true"]')?.focus();
}

// -- the page of one artifact

let open = { key: "", name: "", json: "", draft: false };

async function showDetail(key) {
  const box = byId("detail"), one = state.artifacts.find((other) => other.key === key);
  if (!one) {
    open.json = ""; // whatever was on its way is shown no more
    const next = open.key === key && open.draft && state.artifacts.find((other) => other.name === open.name);
    if (next) location.replace(address(next)); // the draft was finished
    else if (state.cards >= 0) box.replaceChildren(back(), make("p", {}, "No such artifact here (any more)."));
    return;
  }
  const json = JSON.stringify(isDraft(one) ? one.key : [one, relatives(one).map((other) => other.key)]);
  if (open.key === key && open.json === json) {
    if (isDraft(one)) updateDraft(box, one);
    return;
  }
  open = { key, name: one.name, json, draft: isDraft(one) };
  document.title = `${one.name} - orster`;
  if (isDraft(one)) {
    box.replaceChildren(back(), ...draftPage(one));
    updateDraft(box, one);
    return;
  }
  const full = await details(key);
  if (location.hash !== `#${key}` || open.key !== key || open.json !== json) return; // another page was opened meanwhile
  if (!full) open.json = ""; // asked for again with the next news
  box.replaceChildren(back(), ...(full ? artifactPage(one, full) : [make("h1", {}, one.name), make("p", { className: "warning" }, "It cannot be read now.")]));
}

async function details(key) {
  try {
    const answer = await fetch(`/api/artifact/${key}`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // no connection
  }
}

const back = () => make("a", { href: "#" }, "← all artifacts");

function draftPage(one) {
  return [
    make("h1", {}, one.name),
    make("div", { className: "stage" }, make("div", { className: "plate" }), make("div", { className: "live" })),
    make("p", { className: "soft" }, one.progress?.message ?? ""),
  ];
}

function artifactPage(one, full) {
  const files = one.shows ?? {}, isReport = files.page === "report.html";
  const show = make("div", { className: "show" });
  if (files.page) {
    const frame = frameOf(one, files.page, { className: isReport ? "report" : "viewer" });
    frame.setAttribute("allowfullscreen", "");
    frame.src = fileOf(one, files.page);
    show.append(frame);
  } else if (files.video)
    show.append(make("video", { src: fileOf(one, files.video), controls: true, loop: true, muted: true, playsInline: true, autoplay: !still, "aria-label": `${one.name}: preview` }));
  if (files.picture && !isReport) show.append(make("img", { src: fileOf(one, files.picture), alt: `${one.name}: ${files.picture}` }));
  const facts = make("dl");
  const add = (name, ...values) => {
    const kept = values.filter(Boolean);
    if (kept.length) facts.append(make("dt", {}, name), make("dd", {}, ...kept));
  };
  add("kind", one.kind);
  add("state", one.state);
  add("what", one.headline);
  add("made", one.created && dateText(one.created));
  add("by", one.command && `orster ${one.command} (version ${full.version ?? "?"})`);
  for (const parent of one.parents ?? [])
    add(`from ${parent.kind}`, parent.key ? make("a", { href: `#${parent.key}` }, parent.name) : `${parent.name} (not here)`);
  for (const name of one.inputs ?? []) add("from file", name);
  for (const [name, seed] of Object.entries(full.seeds ?? {})) add(`seed of ${name}`, String(seed));
  for (const licence of full.licences ?? []) add("licence", licence);
  add("id", one.id && make("code", { title: one.id }, one.id.slice(0, 12)));
  add("folder", full.folder && make("code", {}, full.folder));
  const side = make("div", {}, facts);
  for (const text of full.warnings ?? []) side.append(make("p", { className: "warning" }, `warning: ${text}`));
  if (one.error) side.append(make("p", { className: "warning" }, one.error));
  const parts = [make("h1", {}, one.name)];
  if (one.prompt) parts.push(make("p", { className: "lead" }, `“${one.prompt}”`));
  const line = lineage(one, true);
  if (line) parts.push(line);
  parts.push(make("div", { className: isReport ? "stage wide" : "stage" }, show.childElementCount ? show : null, side));
  if (full.files) {
    const table = make("table");
    for (const file of full.files)
      table.append(make("tr", {}, make("td", {}, make("a", { href: fileOf(one, file.path), target: "_blank", rel: "noopener" }, file.path)), make("td", {}, sizeText(file.size))));
    const rest = full.file_count - full.files.length;
    parts.push(make("details", { open: full.file_count <= 12 }, make("summary", {}, `${plural(full.file_count, "file")}, ${sizeText(one.size)}`), table,
      rest > 0 ? make("p", { className: "soft" }, `and ${rest} more`) : null));
    for (const [name, values] of [["Figures", full.content], ["Settings", full.config]])
      parts.push(make("details", {}, make("summary", {}, name), make("pre", { tabIndex: 0 }, JSON.stringify(values, null, 1))));
  }
  return parts;
}

// -- what is on the disk, now

function showPage() {
  const key = location.hash.slice(1), overview = !key;
  const changed = byId("overview").hidden === overview;
  byId("overview").hidden = !overview;
  byId("detail").hidden = overview;
  if (overview) {
    open = { key: "", name: "", json: "", draft: false };
    document.title = "orster";
    if (changed) byId("detail").replaceChildren(); // stops what plays there
    showCards();
  } else showDetail(key);
}

async function load() {
  const answer = await fetch("/api/artifacts");
  if (!answer.ok) throw new Error(await answer.text());
  const values = await answer.json();
  Object.assign(state, { artifacts: values.artifacts, cards: values.cards, leftOut: values.left_out });
  byId("root").textContent = values.root;
  showPage();
}

function say(text, lost) {
  byId("link").textContent = text;
  byId("link").classList.toggle("lost", lost);
}

let events = null, timer = 0;

function connect() {
  clearTimeout(timer);
  events?.close();
  events = null;
  if (document.hidden) return; // a hidden page needs no news, and browsers open few connections to a host
  const source = events = new EventSource("/events");
  source.onopen = () => say("live", false);
  source.onmessage = async (message) => {
    const news = JSON.parse(message.data);
    if (news.cards !== state.cards) return load().catch(() => {});
    const drafts = new Map(news.drafts.map((one) => [one.key, one]));
    const known = new Set(state.artifacts.map((one) => one.key));
    const kept = state.artifacts.filter((one) => !isDraft(one) || drafts.has(one.key)).map((one) => drafts.get(one.key) ?? one);
    state.artifacts = [...news.drafts.filter((one) => !known.has(one.key)), ...kept];
    showPage();
  };
  source.onerror = () => {
    say("not connected: is orster view running?", true);
    source.close();
    timer = setTimeout(() => load().catch(() => {}).then(connect), 3000);
  };
}

byId("text").addEventListener("input", (event) => { state.text = event.target.value.trim(); showCards(); });
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing && !byId("overview").hidden) { event.preventDefault(); byId("text").focus(); }
  if (event.key === "Escape" && !typing && location.hash) location.hash = "";
});
addEventListener("hashchange", () => { showPage(); scrollTo(0, 0); });
document.addEventListener("visibilitychange", () => (document.hidden ? connect() : load().catch(() => {}).then(connect)));
load().catch((error) => say(String(error.message), true)).then(connect);
