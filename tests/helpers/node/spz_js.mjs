// Gaussians of a compressed PLY by spz-js, as JSON. node spz_js.mjs NODE_MODULES/spz-js FILE
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [root, file] = process.argv.slice(2);
const { loadCompressedPly } = await import(pathToFileURL(path.join(root, "dist/compressed-ply-loader.js")).href);
const found = await loadCompressedPly(new Blob([fs.readFileSync(file)]).stream());
const out = {};
for (const name of ["positions", "scales", "rotations", "alphas", "colors"]) out[name] = Array.from(found[name]);
console.log(JSON.stringify(out));
