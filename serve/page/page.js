// Photos go to POST /v1/classify one by one; each answer, or what was wrong, becomes a card.

const AT_ONCE = 4; // requests under way: a page with many photos leaves room for other people
const BEST = 5; // classes of a photo, as in the paper's figure 4
const BEST_OF_VIEW = 3;
const VIEW_SIDE = 224; // of the canvases, in pixels
const KEY = "alexnet-key";
const NAMES = {
  ten: "average of ten views",
  centre: "the central view",
  dense: "average over the whole photo",
};

const percents = new Intl.NumberFormat("en", {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const percent = (value) =>
  value < 0.0005 ? "<0.1%" : value >= 0.9995 ? ">99.9%" : percents.format(value);
const shortName = (name) => name.split(",")[0];
const inWords = (count) => (count === 10 ? "ten" : count);
const milliseconds = (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0));
const sizeOf = (bytes) =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${Number((bytes / 1e6).toPrecision(3))} MB`;
const find = (selector, within = document) => within.querySelector(selector);
const stamp = (id) => find(`#${id}`).content.firstElementChild.cloneNode(true);

// For screen readers; what stands on no card is to be seen, too.
function say(sentence, { seen = false } = {}) {
  find("#said").textContent = sentence;
  find("#said").classList.toggle("heard", !seen);
}

const cards = new Set();
const line = []; // cards that wait for their request
let asking = 0;
let names = 0;
let model = null; // a promise of what GET /v1/model says

class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }

  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

async function ask(address, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(address, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service can't be reached. Is it still running?");
  }
  const body = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    if (response.ok) throw new Problem(0, "The answer broke off.");
    return {};
  });
  if (response.ok) return body;
  const sentence = body.detail ?? `The service answered ${response.status} and gave no reason.`;
  const keyless = body.code === "key_needed"; // its sentence speaks of headers, to programs
  throw new Problem(response.status, keyless ? "A key is needed." : sentence);
}

// The model, asked for once; after a failure, once more.
function knowModel() {
  model ??= ask("v1/model").then(showModel, (problem) => {
    model = null;
    find("#model").textContent = problem.message;
    if (problem.status === 401) find("#door").hidden = false;
    throw problem;
  });
  return model;
}

function showModel(facts) {
  const { name, classes, views, backend, device, limits, input } = facts;
  find("#model").textContent =
    `${name}, ${classes} classes, ${NAMES[views]}, on ${backend} (${device})`;
  find("#terms").textContent =
    `JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to ${sizeOf(limits.body_bytes)} each. ` +
    "The service looks at them and keeps none.";
  find("#cards").dataset.fit = views === "dense" && input.fit === "crop" ? "whole" : input.fit;
  const list = find("#classes");
  list.hidden = false;
  find("summary", list).textContent = `The ${classes} classes that it knows`;
  return facts;
}

class Card {
  constructor(file) {
    this.file = file;
    this.name = file.name || "photo";
    this.address = URL.createObjectURL(file);
    this.stopper = new AbortController();
    this.node = stamp("card");
    this.part("h3").textContent = this.name;
    this.part("h3").id = `name-${(names += 1)}`;
    this.part("article").setAttribute("aria-labelledby", this.part("h3").id);
    this.part(".facts").textContent = sizeOf(file.size);
    this.picture = this.part("img");
    this.picture.alt = `The photo ${this.name}`;
    this.picture.onerror = () => {
      this.picture.hidden = true;
      this.part(".unseen").hidden = false;
      this.part(".frame").classList.add("empty");
    };
    this.picture.src = this.address;
    const remove = this.part(".remove");
    remove.setAttribute("aria-label", `Remove ${this.name}`);
    remove.onclick = () => this.remove();
    this.part(".again").onclick = () => this.wait();
    this.part(".open").onclick = () => this.openViews();
  }

  part(selector) {
    return find(selector, this.node);
  }

  wait() {
    this.problem = null;
    this.part(".problem").hidden = true;
    this.state("Waiting for its turn");
    line.push(this);
    advance();
  }

  // What goes on, where there is no answer yet.
  state(sentence) {
    this.part(".state").hidden = !sentence;
    this.part(".state").textContent = sentence;
    this.part("article").setAttribute("aria-busy", String(Boolean(sentence)));
  }

  async classify() {
    this.state("Looking");
    try {
      const facts = await knowModel();
      await this.check(facts);
      const options = { method: "POST", body: this.file, signal: this.stopper.signal };
      const each = facts.each_view ? "&views=each" : "";
      this.show(await ask(`v1/classify?top_k=${BEST}${each}`, options), facts);
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error);
    }
  }

  // What no request needs to find out.
  async check(facts) {
    const { size } = this.file;
    const limit = facts.limits.body_bytes;
    if (size > limit) {
      const sizes = `${sizeOf(size)}, and this service takes ${sizeOf(limit)} at most`;
      throw new Problem(413, `The file has ${sizes}.`);
    }
    try {
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Problem(400, "The browser can't read this. It may be a folder, or be gone.");
    }
  }

  show(answer, facts) {
    const result = answer.results[0];
    const times = answer.timings;
    this.result = result;
    this.input = facts.input;
    this.state("");
    fillBars(this.part(".bars"), result.predictions);
    const about = [`${result.width} × ${result.height}`, result.format, result.note];
    this.part(".facts").textContent = about.filter(Boolean).join(", ");
    this.part(".times").hidden = false;
    this.part(".times").textContent =
      `${milliseconds(times.predict_ms)} ms: decode ${milliseconds(times.decode_ms)}, ` +
      `wait ${milliseconds(times.wait_ms)}, network ${milliseconds(times.run_ms)}`;
    const count = result.views?.length ?? 0;
    this.part(".open").hidden = count < 2;
    this.part(".open").textContent = `Show the ${inWords(count)} views`;
    this.part(".open").setAttribute("aria-describedby", this.part("h3").id);
    const [best] = result.predictions;
    say(`${this.name}: ${shortName(best.name)}, ${percent(best.probability)}.`);
  }

  fail(error) {
    this.problem = error;
    this.state("");
    this.part(".problem").hidden = false;
    this.part(".problem p").textContent = error.message;
    this.part(".again").hidden = !error.passing;
    say(`${this.name}: ${error.message}`);
    if (error.status === 401) {
      find("#door").hidden = false;
      find("#key").focus();
    }
  }

  openViews() {
    const { views, predictions } = this.result;
    const [best] = predictions;
    const agreeing = views.filter((view) => view.predictions[0].index === best.index).length;
    find("#whose").textContent = `The ${inWords(views.length)} views of ${this.name}`;
    find("#verdict").textContent =
      `Their average says ${shortName(best.name)}, ${percent(best.probability)}; ` +
      `${agreeing} of ${views.length} say so by themselves. The bright part is what a view sees.`;
    const seen = this.picture.naturalWidth > 0;
    const square = seen && fitToSquare(this.picture, this.input.fit, VIEW_SIDE);
    const nodes = views.map((view) => {
      const node = stamp("view");
      const place = placeOf(view, this.input);
      const canvas = Object.assign(find("canvas", node), { width: VIEW_SIDE, height: VIEW_SIDE });
      canvas.setAttribute("aria-label", `View ${place}`);
      if (square) drawView(canvas, square, view, this.input.size);
      else canvas.hidden = true;
      find(".place", node).textContent = place;
      fillBars(find(".bars", node), view.predictions.slice(0, BEST_OF_VIEW));
      return node;
    });
    find("#grid").replaceChildren(...nodes);
    find("#views").showModal();
  }

  remove() {
    this.stopper.abort();
    URL.revokeObjectURL(this.address);
    const next = this.node.nextElementSibling ?? this.node.previousElementSibling;
    this.node.remove();
    cards.delete(this);
    if (line.includes(this)) line.splice(line.indexOf(this), 1);
    find("#results").hidden = cards.size === 0;
    (next ? find(".remove", next) : find("#pick")).focus();
    say(`${this.name} is removed.`);
  }
}

function fillBars(list, predictions) {
  list.hidden = false;
  list.replaceChildren(
    ...predictions.map(({ name, probability }) => {
      const bar = stamp("bar");
      bar.style.setProperty("--probability", probability);
      find(".class", bar).textContent = shortName(name);
      find(".class", bar).title = name;
      find(".percent", bar).textContent = percent(probability);
      return bar;
    }),
  );
}

function placeOf({ box: [y, x], mirrored }, { size, crop }) {
  const far = size - crop;
  const along = (at, first, last) => (at === 0 ? first : at === far ? last : "");
  const corner = `${along(y, "top", "bottom")} ${along(x, "left", "right")}`.trim() || "centre";
  return mirrored ? `${corner}, mirrored` : corner;
}

// What the network cuts its views from: a photo's central square, or all of it pressed into one.
function fitToSquare(picture, fit, side) {
  const whole = [picture.naturalWidth, picture.naturalHeight];
  const short = Math.min(...whole);
  const [width, height] = fit === "warp" ? whole : [short, short];
  const corner = [(whole[0] - width) / 2, (whole[1] - height) / 2];
  const square = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = square.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, ...corner, width, height, 0, 0, side, side);
  return square;
}

// The square, faint, and bright in it the box of one view; all of it mirrored, if the view is.
function drawView(canvas, square, { box, mirrored }, size) {
  const [y, x, side] = box.map((pixels) => (pixels * canvas.width) / size);
  const context = canvas.getContext("2d");
  if (mirrored) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.globalAlpha = 0.25;
  context.drawImage(square, 0, 0);
  context.globalAlpha = 1;
  context.clearRect(x, y, side, side);
  context.drawImage(square, x, y, side, side, x, y, side, side);
}

function advance() {
  while (asking < AT_ONCE && line.length) {
    asking += 1;
    const card = line.shift();
    card.classify().finally(() => {
      asking -= 1;
      advance();
    });
  }
}

function take(files) {
  const taken = [...files].map((file) => new Card(file));
  if (!taken.length) {
    say("There was no photo in that. Addresses are not fetched: save the picture, and take that.", {
      seen: true,
    });
    return;
  }
  find("#results").hidden = false;
  find("#cards").prepend(...taken.map((card) => card.node));
  for (const card of taken) {
    cards.add(card);
    card.wait();
  }
}

for (const input of [find("#pick"), find("#camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files);
    input.value = ""; // so that the same photo can be chosen again
  });
}

addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});

const over = (inside) => document.body.classList.toggle("over", inside);
addEventListener("dragover", (event) => {
  event.preventDefault();
  over(true);
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) over(false);
});
addEventListener("drop", (event) => {
  event.preventDefault();
  over(false);
  take(event.dataTransfer.files);
});

find("#door").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, find("#key").value.trim());
  try {
    await knowModel();
  } catch (problem) {
    say(problem.message, { seen: true });
    return;
  }
  find("#key").value = "";
  find("#door").hidden = true;
  find("#pick").focus();
  for (const card of cards) if (card.problem?.status === 401) card.wait();
});

find("#classes").addEventListener("toggle", async () => {
  const list = find("#classes ul");
  if (list.childElementCount) return;
  const { classes } = await ask("v1/model/classes");
  list.replaceChildren(
    ...classes.map(({ name }) => Object.assign(document.createElement("li"), { textContent: name })),
  );
});

knowModel().catch((problem) => say(problem.message));
