// "See the failure": traces the submission on the public cases.

import { alertIn, byId, isBusy, setBusy } from "./dom.js";
import { caseFigures, emptyCases } from "./figures.js";
import { trace } from "./service.js";

/** @returns {{ trace: (code: string) => Promise<void> }} */
export function setUpTrace(source) {
  let number = 0;
  let isOfEarlier = false;
  byId("cases").replaceChildren(...emptyCases());

  async function run(code) {
    const mine = ++number;
    setBusy(byId("trace"), true);
    byId("trace-status").textContent = "Tracing…";
    alertIn(byId("trace-alert"), null);
    try {
      const traced = await trace(code);
      if (mine !== number) return;
      byId("cases").replaceChildren(...caseFigures(traced));
      const held = traced.cases.filter((each) => each.broken === null).length;
      byId("trace-status").textContent = `${held} of ${traced.cases.length} cases of classic hold. Guardrails are read from the source.`;
      isOfEarlier = true;
    } catch (error) {
      if (mine !== number) return;
      byId("trace-status").textContent = isOfEarlier ? "What is below is of an earlier submission." : "";
      alertIn(byId("trace-alert"), error);
    } finally {
      if (mine === number) setBusy(byId("trace"), false);
    }
  }

  byId("trace").addEventListener("click", () => isBusy(byId("trace")) || run(source.read()));
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    if (number === 0) run(source.read());
  });
  observer.observe(byId("failure"));
  return { trace: run };
}
