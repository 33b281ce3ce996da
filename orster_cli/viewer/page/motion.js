// Packed motion (docs/formats.md) -> arrays for the textures.

const WIDE = 1024; // texels of a texture's row
const MAGIC = "ORSTER4D";

async function readMotion(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  if (new TextDecoder().decode(bytes.subarray(0, 8)) !== MAGIC) throw new Error("not a packed motion");
  const end = 12 + new DataView(bytes.buffer).getUint32(8, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(12, end)));
  if (head.version !== 1) throw new Error(`packed motion of version ${head.version}, expected 1`);
  const stream = new Blob([bytes.subarray(end)]).stream();
  const inflated = stream.pipeThrough(new DecompressionStream("deflate"));
  const body = new Uint8Array(await new Response(inflated).arrayBuffer());

  const rows = Math.ceil(head.gaussians / WIDE), motion = { head, rows };
  let start = 0;
  for (const attribute of head.attributes) {
    const { name, knots, bits, low, step } = attribute;
    const texels = new (bits > 8 ? Uint16Array : Uint8Array)(knots * rows * WIDE * 4);
    start = decode(body, start, texels, head.gaussians, attribute, rows * WIDE * 4);
    motion[name] = { texels, knots, low, step };
  }
  motion.shades = joined(motion.colors, motion.opacities, rows * WIDE * 4);
  return motion;
}

// Undoes the differences: to the knot before, less that of the Gaussian before.
function decode(body, start, texels, count, { knots, bits, low }, layer) {
  const size = low.length * knots * count, mask = (1 << bits) - 1, wide = bits > 8;
  let at = start;
  for (let c = 0; c < low.length; c++) {
    for (let k = 0; k < knots; k++) {
      let moved = 0;
      for (let i = 0, to = k * layer + c; i < count; i++, at++, to += 4) {
        const zigzag = body[at] | (wide ? body[at + size] << 8 : 0);
        moved += (zigzag >>> 1) ^ -(zigzag & 1);
        texels[to] = ((k ? texels[to - layer] : 0) + moved) & mask;
      }
    }
  }
  return start + size * (wide ? 2 : 1);
}

// Colours and opacity share a texture; the one that does not move is repeated.
function joined(colors, opacities, layer) {
  const knots = Math.max(colors.knots, opacities.knots);
  const texels = new Uint8Array(knots * layer);
  for (let to = 0; to < texels.length; to += 4) {
    const c = colors.knots > 1 ? to : to % layer, o = opacities.knots > 1 ? to : to % layer;
    for (let j = 0; j < 3; j++) texels[to + j] = colors.texels[c + j];
    texels[to + 3] = opacities.texels[o];
  }
  return {
    texels, knots,
    low: [...colors.low, ...opacities.low],
    step: [...colors.step, ...opacities.step],
  };
}
