// Which inputs to grade on: the suite and the seed, as the address names them, and the token that some seeds need.

import { byId } from "./dom.js";
import { useToken } from "./service.js";

const NOTES = {
  classic: "The same five public cases for everyone.",
  hardened: "Other inputs, drawn from a seed, and more rules: the prompt above has them. The same seed draws the same again; without one, every grade draws its own, and says which.",
};

/**
 * @param {{ changed: (suite: string) => void }} heard
 * @returns {{ read: () => { suite: string, seed: number | null }, write: (inputs: object) => void, isValid: () => boolean,
 *   needsToken: (seed: number | null) => boolean, askForToken: () => void }}
 */
export function setUpInputs({ changed }) {
  const suite = byId("suite");
  const seed = byId("seed");
  const token = byId("token");
  const needsToken = (number) => number !== null && number >= Number(seed.dataset.testFrom);
  const inputs = {
    read: () => ({ suite: suite.value, seed: suite.value === "hardened" && seed.value !== "" ? seed.valueAsNumber : null }),
    write: (wanted) => {
      suite.value = wanted.suite;
      seed.value = wanted.seed ?? "";
      show();
    },
    needsToken,
    isValid: () => byId("submission").reportValidity(),
    askForToken: () => {
      showToken(true);
      token.focus();
    },
  };

  function show() {
    const isHardened = suite.value === "hardened";
    byId("seed-field").hidden = !isHardened;
    seed.disabled = !isHardened;
    byId("suite-note").textContent = NOTES[suite.value];
    if (needsToken(inputs.read().seed)) showToken(true);
    const address = new URL(location.href);
    const { suite: name, seed: number } = inputs.read();
    address.search = name === "classic" ? "" : new URLSearchParams({ suite: name, ...(number === null ? {} : { seed: number }) });
    if (address.href !== location.href && seed.validity.valid) history.replaceState(null, "", address);
    changed(name);
  }

  suite.addEventListener("change", show);
  seed.addEventListener("input", show);
  token.addEventListener("input", () => {
    const isPrintable = /^[\x21-\x7e]*$/.test(token.value);
    token.setCustomValidity(isPrintable ? "" : "A token has printable ASCII characters only, and no blanks.");
    if (isPrintable) useToken(token.value);
  });
  const address = () => named(new URLSearchParams(location.search), Number(seed.max));
  addEventListener("popstate", () => {
    const { suite: name, seed: number } = address();
    const now = inputs.read();
    if (seed.validity.valid && (name !== now.suite || number !== now.seed)) inputs.write(address());
  });
  inputs.write(address());
  return inputs;
}

function showToken(isShown) {
  byId("token-field").hidden = !isShown;
  byId("token-note").hidden = !isShown;
}

/** What an address names; what it names wrongly is left out. */
function named(parameters, highest) {
  const suite = parameters.get("suite") === "hardened" ? "hardened" : "classic";
  const seed = /^\d{1,10}$/.test(parameters.get("seed") ?? "") ? Number(parameters.get("seed")) : null;
  return { suite, seed: suite === "hardened" && seed !== null && seed <= highest ? seed : null };
}
