// The submission in the editor: CodeMirror where it was built, and the text area where it was not.

import { dropDraft, keepDraft, readDraft } from "./attempts.js";
import { byId } from "./dom.js";

const KEEP_AFTER_MS = 400;

/**
 * @param {HTMLTextAreaElement} area
 * @returns {{ read: () => string, write: (text: string) => void, focus: () => void }}
 */
export function openSource(area) {
  let editor = { read: () => area.value, write: (text) => replaceIn(area, text), focus: () => area.focus() };
  let timer = null;
  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(keep, KEEP_AFTER_MS);
  };
  const keep = () => {
    clearTimeout(timer);
    timer = null;
    if (editor.read() === area.defaultValue) dropDraft();
    else keepDraft(editor.read());
  };
  const source = {
    read: () => editor.read(),
    write: (text) => { editor.write(text); keep(); },
    focus: () => editor.focus(),
  };
  area.value = readDraft() ?? area.defaultValue;
  area.addEventListener("input", changed);
  addEventListener("pagehide", () => timer !== null && keep()); // with nothing new, another tab's may be newer
  byId("reset").addEventListener("click", () => { source.write(area.defaultValue); source.focus(); });
  import("./editor.js").then(({ edit }) => {
    const note = byId("editor-note");
    const hadFocus = document.activeElement === area;
    editor = edit(area, note.textContent, { changed, submitted: () => area.form.requestSubmit() });
    note.hidden = false;
    byId("licences").hidden = false;
    if (hadFocus) editor.focus();
  }).catch(() => {}); // it was not built
  return source;
}

/** Writes as somebody who types, so that it can be undone. */
function replaceIn(area, text) {
  area.focus();
  area.select();
  if (!document.execCommand("insertText", false, text)) area.value = text;
}
