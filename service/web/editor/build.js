// Bundles the editor into one module, with the licences of what is in it beside it.

import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { build } from "esbuild";

const target = new URL("../static/", import.meta.url);

const { metafile } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["editor.js"],
  outfile: path.join(target.pathname, "editor.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  metafile: true,
});

const folders = new Set();
for (const file of Object.keys(metafile.inputs)) {
  const found = /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file);
  if (found) folders.add(found[0]);
}
const notices = [];
for (const folder of [...folders].sort()) {
  const at = path.join(import.meta.dirname, folder);
  const { name, version, license } = JSON.parse(await readFile(path.join(at, "package.json"), "utf8"));
  const file = (await readdir(at)).find((each) => /^licen[cs]e/i.test(each));
  notices.push(`${name} ${version} (${license})\n\n${(await readFile(path.join(at, file), "utf8")).trim()}\n`);
}
await writeFile(new URL("editor.licenses.txt", target), notices.join(`\n${"-".repeat(72)}\n\n`));
