// Gaussians of a file by three.js's own loaders, as JSON. node three.mjs NODE_MODULES/three FILE
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [root, file] = process.argv.slice(2);
const addon = (name) => import(pathToFileURL(path.join(root, "examples/jsm/loaders", name)).href);
const bytes = fs.readFileSync(file);
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
globalThis.self = globalThis; // a loader looks for its URL there

let geometry;
if (file.endsWith(".spz")) {
  const { SPZLoader } = await addon("SPZLoader.js");
  geometry = new SPZLoader().parse(buffer);
} else if (file.endsWith(".ply")) {
  const { GaussianSplatPLYLoader } = await addon("GaussianSplatPLYLoader.js");
  geometry = new GaussianSplatPLYLoader().parse(buffer);
} else {
  const { GLTFLoader } = await addon("GLTFLoader.js");
  const { GLTFGaussianSplatLoaderExtension } = await addon("GLTFGaussianSplatLoaderExtension.js");
  const loader = new GLTFLoader();
  loader.register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
  const { scene } = await loader.parseAsync(buffer, "");
  scene.traverse((one) => { if (one.isGaussianSplat) geometry = one.splatGeometry; });
}
const out = {};
for (const name of ["position", "covariance", "color"]) out[name] = Array.from(geometry.attributes[name].array);
console.log(JSON.stringify(out));
