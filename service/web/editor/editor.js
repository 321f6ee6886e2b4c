// The code editor, in place of a text area. Bundled by `make page` into static/editor.js; the page does without it, too.
//
// It lives in a shadow root: there CodeMirror adds its styles as constructed sheets, which a strict
// content security policy allows, where in the document it would have to write a <style> element.

import { indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState, Prec, Transaction } from "@codemirror/state";
import { EditorView, keymap } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { basicSetup } from "codemirror";

const colors = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.definitionKeyword, tags.controlKeyword, tags.moduleKeyword], color: "var(--keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--number)" },
  { tag: [tags.function(tags.definition(tags.variableName)), tags.className], color: "var(--name)" },
  { tag: tags.comment, color: "var(--comment)", fontStyle: "italic" },
]);

const look = EditorView.theme({
  "&": { height: "100%", color: "var(--text)", backgroundColor: "var(--field)" },
  "&.cm-focused": { outline: "2px solid var(--link)", outlineOffset: "1px" },
  ".cm-scroller": { font: "0.8125rem/1.5 var(--mono)", overflow: "auto" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "var(--box)", color: "var(--muted)", borderRight: "1px solid var(--rule)" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--line)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground, ::selection":
    { backgroundColor: "var(--selection)" },
  ".cm-selectionMatch": { backgroundColor: "var(--line)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "transparent", outline: "1px solid var(--muted)" },
  "&.cm-focused .cm-nonmatchingBracket": { backgroundColor: "transparent", outline: "1px solid var(--bad)" },
  ".cm-specialChar": { color: "var(--bad)" },
  ".cm-panels, .cm-tooltip": { backgroundColor: "var(--box)", color: "var(--text)", borderColor: "var(--rule)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--selection)", color: "var(--text)" },
  ".cm-foldPlaceholder": { backgroundColor: "var(--box)", color: "var(--muted)", borderColor: "var(--rule)" },
  ".cm-textfield": { backgroundColor: "var(--field)", color: "var(--text)", borderColor: "var(--muted)" },
  ".cm-button": { backgroundColor: "var(--box)", backgroundImage: "none", color: "var(--text)", borderColor: "var(--muted)" },
});

/**
 * Puts an editor in the place of a text area.
 *
 * @param {HTMLTextAreaElement} area with its text, its name (aria-labelledby) and a height in rows
 * @param {string} instructions for who cannot see how to leave it
 * @param {{ changed: () => void, submitted: () => void }} heard of every change, and of Ctrl+Enter
 * @returns {{ read: () => string, write: (text: string) => void, focus: () => void }}
 */
export function edit(area, instructions, { changed, submitted }) {
  const host = document.createElement("div");
  host.className = "editor";
  const root = host.attachShadow({ mode: "open" });
  area.before(host);
  area.hidden = true;
  const view = new EditorView({
    doc: area.value,
    root,
    parent: root,
    extensions: [
      basicSetup,
      keymap.of([indentWithTab]),
      Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => { submitted(); return true; } }])),
      python(),
      indentUnit.of("    "),
      EditorState.tabSize.of(4),
      syntaxHighlighting(colors),
      look,
      EditorView.contentAttributes.of({
        "aria-label": area.labels[0].textContent.trim(),
        "aria-description": instructions,
        "aria-multiline": "true",
        tabindex: "0",
      }),
      EditorView.updateListener.of((update) => update.docChanged && changed()),
    ],
  });
  for (const label of area.labels) label.addEventListener("click", () => view.focus());
  return {
    read: () => view.state.doc.toString(),
    write: (text) => view.dispatch({
      changes: { from: 0, to: view.state.doc.length, insert: text },
      selection: { anchor: 0 },
      scrollIntoView: true,
      annotations: Transaction.userEvent.of("input.replace"),
    }),
    focus: () => view.focus(),
  };
}
