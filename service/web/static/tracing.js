// "See the failure": traces the submission on the public cases.

import { alertIn, byId, setBusy } from "./dom.js";
import { caseFigure } from "./figures.js";
import { trace } from "./service.js";

const ORDER = ["dirty", "flat", "heavy_tail", "flood", "sanity"];

/** @returns {{ trace: (code: string) => Promise<void> }} */
export function setUpTrace(source) {
  let number = 0;

  async function run(code) {
    const mine = ++number;
    setBusy(byId("trace"), true);
    byId("trace-status").textContent = "Tracing…";
    alertIn(byId("trace-alert"), null);
    try {
      const traced = await trace(code);
      if (mine !== number) return;
      const cases = [...traced.cases].sort((one, other) => ORDER.indexOf(one.id) - ORDER.indexOf(other.id));
      byId("cases").replaceChildren(...cases.map((each) => caseFigure(each, traced.buffer_limit)));
      const held = cases.filter((each) => each.broken === null).length;
      byId("trace-status").textContent = `${held} of ${cases.length} cases hold for this submission.`;
    } catch (error) {
      if (mine !== number) return;
      byId("trace-status").textContent = byId("cases").hasChildNodes() ? "What is below is of an earlier submission." : "";
      alertIn(byId("trace-alert"), error);
    } finally {
      if (mine === number) setBusy(byId("trace"), false);
    }
  }

  byId("trace").addEventListener("click", () => run(source.read()));
  const observer = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    if (number === 0) run(source.read());
  });
  observer.observe(byId("failure"));
  return { trace: run };
}
