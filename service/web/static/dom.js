// Elements from texts: nothing here, or anywhere on the page, reads a text as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (functions are listeners) and children (texts are shown as they are). */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A table in a box that scrolls, also by the keyboard, where it is wider than the page. */
export function wideTable(label, head, rows) {
  return element("div", { class: "wide", tabindex: 0, role: "group", "aria-label": label },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

/** The element of an id. */
export function byId(id) {
  return document.getElementById(id);
}

// Controls of terminals, marks of writing direction, what has no width or no ink, halves of characters, and marks piled
// up over their neighbours: a text could hide what it says behind them.
const HIDDEN = /(?![\t\n])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?<=\p{M}{4})\p{M}/gu;

/** A text in which every character can be seen. */
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(HIDDEN, (character) => {
    const code = character.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });
}

/** Shows an error above what it is about, or takes it away. */
export function alertIn(place, error) {
  place.replaceChildren();
  if (!error) return;
  place.append(element("p", { class: "alert" }, visible(error.message)));
}

/** Marks a button as waiting for its answer; it stays where the keyboard is, as a disabled one would not. */
export function setBusy(button, isBusy) {
  button.setAttribute("aria-disabled", String(isBusy));
}

export function isBusy(button) {
  return button.getAttribute("aria-disabled") === "true";
}

/** A number as a person reads it. */
export function figure(number, digits = 3) {
  if (!Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e15 || (size > 0 && size < 1e-6)) return number.toExponential(digits - 1).replace("e+", "e"); // and not 300 digits
  return new Intl.NumberFormat("en", { maximumSignificantDigits: digits }).format(number);
}

/** Gives a file to the visitor. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Copies a text, and says so on the button; where the browser does not let a page do that, it is shown to be copied by hand. */
export async function copy(text, button) {
  const says = button.dataset.says ??= button.textContent; // which may be what it said of the last time
  button.parentElement.querySelector(".copied")?.remove();
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = says; }, 2000);
  } catch {
    const field = element("textarea", { class: "copied", readonly: true, rows: 3, "aria-label": `${says}: the text to copy` });
    field.value = text;
    button.parentElement.append(field);
    field.select();
  }
}
