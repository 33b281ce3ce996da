// Gaussians mixed between knots in the vertex shader, drawn as quads, near to far.
// Projection and constants are the rasterizer's (gsplat's rules).

const literal = (x) => Number(x).toExponential();

const vertexShader = (rules) => `#version 300 es
precision highp float; precision highp int; precision highp usampler2DArray;
const float ALPHA_MIN = ${literal(rules.alpha_min)};
const float NEAR = ${literal(rules.near)}, MARGIN = ${literal(rules.margin)};
uniform usampler2DArray means, quats, log_scales, shades;
uniform vec4 means_low, means_step, quats_low, quats_step;
uniform vec4 log_scales_low, log_scales_step, shades_low, shades_step;
uniform ivec2 knots; uniform float weight, eps;
uniform mat4 w2c; uniform vec2 focal, size;
in uint which;
out vec2 at; flat out vec4 shade;

void pair(usampler2DArray values, out vec4 a, out vec4 b) {
  ivec2 layer = min(knots, textureSize(values, 0).z - 1); // one layer: still
  ivec2 texel = ivec2(which % ${WIDE}u, which / ${WIDE}u);
  a = vec4(texelFetch(values, ivec3(texel, layer.x), 0));
  b = vec4(texelFetch(values, ivec3(texel, layer.y), 0));
}
vec4 mixed(usampler2DArray values, vec4 low, vec4 scale) {
  vec4 a, b;
  pair(values, a, b);
  return low + scale * mix(a, b, weight);
}
mat3 rotation() {
  vec4 a, b;
  pair(quats, a, b);
  a = quats_low + quats_step * a;
  b = quats_low + quats_step * b;
  vec4 q = normalize(mix(a, dot(a, b) < 0.0 ? -b : b, weight)); // w x y z
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // outside, unless it is seen
  shade = max(mixed(shades, shades_low, shades_step), 0.0);
  at = vec2(0.0);
  vec3 p = (w2c * vec4(mixed(means, means_low, means_step).xyz, 1.0)).xyz;
  if (p.z <= NEAR) return;
  vec2 centre = focal * p.xy / p.z + 0.5 * size;
  vec2 limit = (0.5 + MARGIN) * size / focal;
  vec2 slope = clamp(p.xy / p.z, -limit, limit);
  vec3 scale = exp(mixed(log_scales, log_scales_low, log_scales_step).xyz);
  mat3 axes = transpose(mat3(w2c) * rotation());
  // rows of Jacobian x axes
  vec3 x = focal.x / p.z * scale * (axes[0] - slope.x * axes[2]);
  vec3 y = focal.y / p.z * scale * (axes[1] - slope.y * axes[2]);
  float xx = dot(x, x), yy = dot(y, y), xy = dot(x, y);
  vec3 minors = cross(x, y);
  float own = dot(minors, minors), det = own + eps * (xx + yy + eps); // of cov + eps
  ${rules.antialiased ? "shade.a *= sqrt(own / det);" : ""}
  if (shade.a < ALPHA_MIN) return;
  float half_gap = length(vec2(0.5 * (xx - yy), xy));
  float large = 0.5 * (xx + yy) + eps + half_gap, small = det / large;
  float angle = half_gap > 0.0 ? 0.5 * atan(xy, 0.5 * (xx - yy)) : 0.0;
  vec2 axis = vec2(cos(angle), sin(angle));
  float reach = sqrt(2.0 * log(shade.a / ALPHA_MIN));
  at = reach * vec2(float(gl_VertexID & 1) * 2.0 - 1.0, float(gl_VertexID >> 1) * 2.0 - 1.0);
  vec2 pixel = centre + axis * sqrt(large) * at.x + vec2(-axis.y, axis.x) * sqrt(small) * at.y;
  gl_Position = vec4(2.0 * pixel / size - 1.0, 0.0, 1.0) * vec4(1.0, -1.0, 1.0, 1.0);
}`;

const blendShader = (rules) => `#version 300 es
precision highp float;
in vec2 at; flat in vec4 shade; out vec4 color;
void main() {
  float alpha = min(shade.a * exp(-0.5 * dot(at, at)), ${literal(rules.alpha_max)});
  if (alpha < ${literal(rules.alpha_min)}) discard;
  color = vec4(shade.rgb * alpha, alpha);
}`;

const wholeShader = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

const groundShader = `#version 300 es
precision highp float;
uniform sampler2D picture; uniform vec4 ground; out vec4 color;
void main() {
  vec4 front = min(texelFetch(picture, ivec2(gl_FragCoord.xy), 0), 1.0);
  color = front + (1.0 - front.a) * vec4(ground.rgb * ground.a, ground.a);
}`;

class Renderer {
  constructor(canvas, motion) {
    const gl = canvas.getContext("webgl2", { antialias: false, depth: false, alpha: true });
    if (!gl) throw new Error("this browser has no WebGL2");
    const { rows, head } = motion, count = head.gaussians;
    const layers = gl.getParameter(gl.MAX_ARRAY_TEXTURE_LAYERS);
    if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE) || head.knots > layers)
      throw new Error(`${count} Gaussians at ${head.knots} knots are too many for this device`);
    Object.assign(this, { gl, canvas, motion, count });
    // Without a float target each Gaussian rounds: far to near shows less of it.
    this.float = Boolean(gl.getExtension("EXT_color_buffer_float"));
    this.order = new Uint32Array(count);
    this.depths = new Float32Array(count);
    this.keys = new Uint16Array(count);
    this.starts = new Uint32Array(65537);

    this.splat = this.program(vertexShader(head.raster), blendShader(head.raster));
    this.cover = this.program(wholeShader, groundShader);
    gl.useProgram(this.splat.program);
    ["means", "quats", "log_scales", "shades"].forEach((name, unit) => {
      const { texels, knots, low, step } = motion[name], wide = texels.BYTES_PER_ELEMENT > 1;
      this.texture(gl.TEXTURE_2D_ARRAY, gl.TEXTURE0 + unit);
      gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, wide ? gl.RGBA16UI : gl.RGBA8UI, WIDE, rows, knots, 0,
        gl.RGBA_INTEGER, wide ? gl.UNSIGNED_SHORT : gl.UNSIGNED_BYTE, texels);
      gl.uniform1i(this.splat[name], unit);
      gl.uniform4fv(this.splat[name + "_low"], [...low, 0].slice(0, 4));
      gl.uniform4fv(this.splat[name + "_step"], [...step, 0].slice(0, 4));
    });
    this.quads = gl.createVertexArray();
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    const which = gl.getAttribLocation(this.splat.program, "which");
    gl.enableVertexAttribArray(which);
    gl.vertexAttribIPointer(which, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(which, 1);
    this.target = gl.createFramebuffer();
    this.picture = this.texture(gl.TEXTURE_2D, gl.TEXTURE4);
    gl.useProgram(this.cover.program);
    gl.uniform1i(this.cover.picture, 4);
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram(), found = { program };
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(`shader: ${gl.getProgramInfoLog(program)}`);
    for (let i = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) || 0; i-- > 0; ) {
      const { name } = gl.getActiveUniform(program, i);
      found[name] = gl.getUniformLocation(program, name);
    }
    return found;
  }

  texture(kind, unit) {
    const gl = this.gl, texture = gl.createTexture();
    gl.activeTexture(unit);
    gl.bindTexture(kind, texture);
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  resize(width, height) {
    const gl = this.gl;
    Object.assign(this, { width, height });
    Object.assign(this.canvas, { width, height });
    gl.activeTexture(gl.TEXTURE4);
    const [inside, kind] = this.float ? [gl.RGBA16F, gl.HALF_FLOAT] : [gl.RGBA8, gl.UNSIGNED_BYTE];
    gl.texImage2D(gl.TEXTURE_2D, 0, inside, width, height, 0, gl.RGBA, kind, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.picture, 0);
  }

  // The knots around `time` in [0,1] of the clip.
  knots(time) {
    const { knots, looping, cycles } = this.motion.head;
    const place = looping ? ((time * cycles) % 1) * knots : time * (knots - 1);
    const first = Math.max(Math.min(Math.floor(place), looping ? knots - 1 : knots - 2), 0);
    const second = looping ? (first + 1) % knots : Math.min(first + 1, knots - 1);
    return { first, second, weight: place - first };
  }

  // Counting sort by 16-bit depths along `toward`.
  sort(toward, { first, second, weight }) {
    const { texels, knots, step } = this.motion.means, { order, depths, keys, starts, count } = this;
    const [x, y, z] = toward.map((value, axis) => value * step[axis]);
    const layer = this.motion.rows * WIDE * 4, last = knots - 1;
    let a = Math.min(first, last) * layer, b = Math.min(second, last) * layer;
    let nearest = Infinity, farthest = -Infinity;
    for (let i = 0; i < count; i++, a += 4, b += 4) {
      const from = x * texels[a] + y * texels[a + 1] + z * texels[a + 2];
      const to = x * texels[b] + y * texels[b + 1] + z * texels[b + 2];
      const depth = (depths[i] = from + weight * (to - from));
      if (depth < nearest) nearest = depth;
      if (depth > farthest) farthest = depth;
    }
    let scale = 65535 / Math.max(farthest - nearest, 1e-9), from = nearest;
    if (!this.float) [from, scale] = [farthest, -scale];
    starts.fill(0);
    for (let i = 0; i < count; i++) {
      keys[i] = Math.min((depths[i] - from) * scale, 65535);
      starts[keys[i] + 1]++; // the stored integer
    }
    for (let key = 0; key < 65536; key++) starts[key + 1] += starts[key];
    for (let i = 0; i < count; i++) order[starts[keys[i]]++] = i;
  }

  // `w2c`: 16 numbers by rows, OpenCV axes; `focal` in pixels; `ground`: r, g, b, a in [0,1].
  draw(w2c, focal, time, ground) {
    const { gl, splat, width, height } = this, between = this.knots(time);
    this.sort(w2c.slice(8, 11), between);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(splat.program);
    gl.uniform2i(splat.knots, between.first, between.second);
    gl.uniform1f(splat.weight, between.weight);
    const { eps2d, focal: f, radius } = this.motion.head.raster; // f: of the fit
    const far = Math.max(Math.hypot(w2c[3], w2c[7], w2c[11]), radius / 10);
    gl.uniform1f(splat.eps, f ? eps2d * ((focal * radius) / (f * far)) ** 2 : eps2d);
    gl.uniformMatrix4fv(splat.w2c, true, w2c);
    gl.uniform2f(splat.focal, focal, focal);
    gl.uniform2f(splat.size, width, height);
    gl.bindVertexArray(this.quads);
    gl.bufferData(gl.ARRAY_BUFFER, this.order, gl.STREAM_DRAW);
    gl.enable(gl.BLEND);
    if (this.float) gl.blendFunc(gl.ONE_MINUS_DST_ALPHA, gl.ONE);
    else gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.count);
    gl.disable(gl.BLEND);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.useProgram(this.cover.program);
    gl.uniform4fv(this.cover.ground, ground);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}
