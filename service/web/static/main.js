// Wires the page together.

import { linkTo } from "./attempts.js";
import { byId, copy } from "./dom.js";
import { watch } from "./live.js";
import { readTask } from "./service.js";
import { openSource } from "./source.js";
import { setUpExpression } from "./expression.js";
import { setUpGrading } from "./grading.js";
import { setUpInputs } from "./inputs.js";
import { setUpTrace } from "./tracing.js";

const source = openSource(byId("code"));
const inputs = setUpInputs({ changed: (suite) => showPrompt(suite) });
const tracing = setUpTrace(source);
setUpGrading({ source, inputs, graded: (code, grade) => grade.suite === "classic" && tracing.trace(code) });
setUpExpression(source);
byId("copy-link").addEventListener("click", (event) => copy(linkTo(inputs.read()), event.currentTarget));
watch();

async function showPrompt(suite) {
  if (byId("prompt").dataset.suite === suite) return;
  byId("prompt").dataset.suite = suite;
  try {
    const { prompt } = await readTask(suite);
    if (byId("prompt").dataset.suite !== suite) return; // it has been changed again
    byId("prompt").textContent = prompt;
    byId("prompt-suite").textContent = `For the suite ${suite}.`;
  } catch {
    delete byId("prompt").dataset.suite; // what stands there says what it is for
  }
}
