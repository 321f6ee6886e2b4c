// Grading: rows as they are judged, the verdict, and the attempts before.

import { addAttempt, curlFor, linkTo, onChangeElsewhere, readAttempts, removeAttempt, removeAttempts } from "./attempts.js";
import { alertIn, byId, copy, download, element, setBusy, visible, wideTable } from "./dom.js";
import { grade } from "./service.js";

/** @param {{ source: object, inputs: object, graded: (code: string, grade: object) => void }} parts */
export function setUpGrading({ source, inputs, graded }) {
  let shown = null; // the attempt whose rows are shown
  let running = null;

  showAttempts();
  onChangeElsewhere(showAttempts);

  byId("submission").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running === null && inputs.isValid()) run();
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("again").addEventListener("click", () => { inputs.write(shown.grade); show(shown); byId("grade").focus(); });
  byId("download").addEventListener("click", () => save(shown));
  byId("copy-curl").addEventListener("click", (event) => copy(curlFor(shown, inputs.needsToken(shown.grade.seed)), event.currentTarget));

  async function run() {
    const code = source.read();
    const { suite, seed } = inputs.read();
    const mine = new AbortController();
    running = mine;
    begin(suite);
    try {
      const answer = await grade({ code, suite, ...(seed === null ? {} : { seed }) }, (row) => running === mine && showRow(row), mine.signal);
      if (running !== mine) return;
      const attempt = { id: newId(), at: new Date().toISOString(), code, grade: answer };
      show(attempt);
      if (!addAttempt(attempt)) alertIn(byId("grade-alert"), new Error("This browser keeps nothing for this page: download the attempt, or it is gone with the page."));
      showAttempts();
      graded(code, answer);
    } catch (error) {
      if (running === mine) fail(error);
    } finally {
      if (running === mine) end();
    }
  }

  function begin(suite) {
    shown = null;
    clearRows();
    alertIn(byId("grade-alert"), null);
    byId("verdict").className = "";
    byId("verdict").textContent = `Grading on ${suite}…`;
    byId("result-tools").hidden = true;
    setBusy(byId("grade"), true);
    byId("stop").hidden = false;
    byId("rows").setAttribute("aria-busy", "true");
  }

  function end() {
    running = null;
    if (document.activeElement === byId("stop")) byId("grade").focus();
    setBusy(byId("grade"), false);
    byId("stop").hidden = true;
    byId("rows").removeAttribute("aria-busy");
  }

  /** Ends a grade in whose place something else is shown. */
  function giveUp() {
    if (running === null) return;
    running.abort();
    end();
  }

  function fail(error) {
    clearRows();
    const wasStopped = error.name === "AbortError";
    byId("verdict").textContent = wasStopped ? "Stopped: not graded." : "Not graded.";
    if (wasStopped) return;
    alertIn(byId("grade-alert"), error);
    if (error.status === 401 || error.status === 403) inputs.askForToken();
  }

  function show(attempt) {
    shown = attempt;
    const { grade: answer } = attempt;
    const on = answer.suite === "classic" ? "classic" : `hardened, seed ${answer.seed}`;
    answer.checks.forEach(showRow);
    byId("verdict").className = answer.passed ? "good" : "bad";
    byId("verdict").textContent = visible(`${Math.round(answer.score * 100)} % on ${on}, ${answer.points} of 100 points. ${answer.feedback}`);
    byId("result-tools").hidden = false;
    byId("again").hidden = answer.seed === null || answer.seed === inputs.read().seed;
  }

  function showAttempts() {
    const attempts = readAttempts();
    const list = byId("attempt-list");
    if (!attempts.length) {
      list.replaceChildren(element("p", {}, "None yet."));
      return;
    }
    const lines = attempts.map((attempt) => {
      const { grade: answer, at } = attempt;
      const when = new Date(at).toLocaleString();
      const button = (label, act) => element("button", { type: "button", "aria-label": `${label}: attempt of ${when}`, click: act }, label);
      return element(
        "tr", { "data-attempt": attempt.id },
        element("td", {}, element("time", { datetime: at }, when)),
        element("td", {}, element("a", { href: linkTo(answer) }, answer.seed === null ? answer.suite : `${answer.suite} ${answer.seed}`)),
        element("td", { class: answer.passed ? "good" : "bad" }, `${answer.passed ? "✓" : "✗"} ${Math.round(answer.score * 100)} %`),
        element("td", {}, String(answer.points)),
        element("td", { class: "tools" },
          button("Open", () => open(attempt)),
          button("JSON", () => save(attempt)),
          button("Remove", () => { removeAttempt(attempt.id); showAttempts(); byId("attempts-title").focus(); })),
        element("td", {}, answer.checks.filter((row) => !row.passed).map((row) => row.id).join(", ") || "–"),
      );
    });
    const head = element("tr", {}, ...["when", "inputs", "score", "points", "", "lost rows"].map((name) => (name ? element("th", { scope: "col" }, name) : element("td", {}))));
    list.replaceChildren(
      wideTable("Attempts", head, lines),
      element("button", { type: "button", id: "remove-all", click: () => { removeAttempts(); showAttempts(); byId("attempts-title").focus(); } }, "Remove all"),
    );
  }

  function open(attempt) {
    giveUp();
    source.write(attempt.code);
    inputs.write(attempt.grade);
    alertIn(byId("grade-alert"), null);
    show(attempt);
    byId("playground").scrollIntoView();
    byId("result-title").focus({ preventScroll: true });
  }
}

function clearRows() {
  for (const line of byId("rows").children) fillRow(line, { state: "", sign: "·", points: "–", detail: "" });
}

function showRow({ id, passed, points, detail }) {
  const line = byId(`row-${id}`);
  if (line === null) return; // of another version's rubric
  fillRow(line, { state: passed ? "held" : "lost", sign: passed ? "✓" : "✗", points, detail: visible(detail) });
}

function fillRow(line, { state, ...texts }) {
  line.className = state;
  for (const [part, text] of Object.entries(texts)) line.querySelector(`.${part}`).textContent = text;
}

function save(attempt) {
  download(`attempt-${attempt.id}.json`, JSON.stringify(attempt, null, 2), "application/json");
}

function newId() {
  return `${Date.now().toString(36)}-${Math.floor(Math.random() * 36 ** 4).toString(36).padStart(4, "0")}`;
}
