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
      const before = byId("with-code").checked ? `${source.read().trimEnd()}\n\n` : "";
      show(await execute(before + expression), before.split("\n").length);
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

/** Shows what came of an expression that began on some line of what was run. */
function show(execution, firstLine) {
  const parts = [["stdout", execution.stdout], ["stderr", execution.stderr], ["result", execution.result], ["error", execution.error]]
    .filter(([, text]) => text);
  const cut = execution.truncated ? ", cut short" : "";
  byId("output").replaceChildren(
    element("p", { class: execution.status === "ok" ? "good" : "bad" },
      `${execution.status === "ok" ? "✓" : "✗"} ${execution.status}${cut}, ${figure(execution.duration_ms)} ms`),
    ...parts.map(([name, text]) => element(
      "div", { class: "part" }, element("h4", {}, name), element("pre", { tabindex: 0, "aria-label": name }, visible(text)),
    )),
    parts.length ? "" : element("p", { class: "note" }, "No value, and nothing printed."),
    execution.error && firstLine > 1
      ? element("p", { class: "note" }, `Lines count from the top of the submission; the expression begins on line ${firstLine}.`) : "",
  );
}
