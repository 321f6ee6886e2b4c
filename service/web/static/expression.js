// "Try an expression": one call of the tool that an agent has.

import { alertIn, byId, element, figure, isBusy, setBusy, visible } from "./dom.js";
import { execute } from "./service.js";

export function setUpExpression(source) {
  const form = byId("expression-form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy(byId("run"))) return;
    const expression = byId("expression").value;
    setBusy(byId("run"), true);
    alertIn(byId("run-alert"), null);
    try {
      show(await execute(byId("with-code").checked ? `${source.read()}\n\n${expression}` : expression));
    } catch (error) {
      byId("output").replaceChildren();
      alertIn(byId("run-alert"), error);
    } finally {
      setBusy(byId("run"), false);
    }
  });
  byId("expression").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

function show(execution) {
  const parts = [["result", execution.result], ["stdout", execution.stdout], ["stderr", execution.stderr], ["error", execution.error]];
  const cut = execution.truncated ? ", cut short" : "";
  byId("output").replaceChildren(
    element("p", { class: execution.status === "ok" ? "good" : "bad" },
      `${execution.status === "ok" ? "✓" : "✗"} ${execution.status}${cut}, ${figure(execution.duration_ms)} ms`),
    ...parts.filter(([, text]) => text).map(([name, text]) => element(
      "div", { class: "part" }, element("h4", {}, name), element("pre", { tabindex: 0, "aria-label": name }, visible(text)),
    )),
  );
}
