"""All limits on untrusted input, checked before memory is allocated."""

from __future__ import annotations

MiB = 1024**2
GiB = 1024**3

# video and images
VIDEO_MAX_SIDE = 4096  # pixels
VIDEO_MAX_FRAMES = 2_000
VIDEO_MAX_RAW_BYTES = 4 * GiB  # frames x H x W x 3 bytes
VIDEO_MAX_SECONDS = 120  # wall-clock time of decoding one file
IMAGE_MAX_SIDE = 8192
IMAGE_MAX_PIXELS = 32 * 1024**2  # half a GiB as float RGBA
IMAGE_MAX_BYTES = 256 * MiB

# point clouds, meshes, scenes
PLY_MAX_HEADER_BYTES = 64 * 1024
PLY_MAX_VERTICES = 20_000_000
GLTF_MAX_BYTES = 1 * GiB
GLTF_MAX_JSON_BYTES = 64 * MiB
GLTF_MAX_DECODED_BYTES = 4 * GiB  # accessors, embedded data and texture pixels of one file
GLTF_MAX_VERTICES = 5_000_000
GLTF_MAX_TRIANGLES = 10_000_000
GLTF_MAX_NODES = 65_536
GLTF_MAX_NODE_DEPTH = 4_096  # a rope has a bone a segment
GLTF_MAX_KEYFRAMES = 2_000_000  # of one animation channel
GLTF_MAX_MORPH_TARGETS = 1_024  # of one primitive
GLTF_MAX_TEXTURE_SIDE = 8192

# packed motions
MOTION_MAX_GAUSSIANS = 5_000_000
MOTION_MAX_KNOTS = 1_024
MOTION_MAX_BODY_BYTES = 4 * GiB  # unpacked, at 16 bits a value

# text formats
TOML_MAX_BYTES = 64 * 1024
TOML_MAX_LINE = 4096  # dotted keys cost the square of their length
JSON_MAX_BYTES = 64 * MiB
INDEX_MAX_BYTES = (
    4 * GiB
)  # of a dataset, about 330 bytes a sample; who reads it holds 1 kB for each
FRAME_CACHE_MAX_BYTES = 64 * GiB  # decoded frames that are kept next to a dataset
CAPTIONS_MAX_BYTES = 256 * MiB
CAPTIONS_MAX_ALSO = 100  # alternative captions of one clip
MANIFEST_MAX_FILES = 1_000_000
WEIGHTS_MAX_BYTES = 64 * GiB  # of one checkpoint inside an archive
SAFETENSORS_MAX_HEADER_BYTES = 100 * 1000 * 1000
TRANSFORMS_MAX_FRAMES = 10_000

# nesting and names inside artifacts and JSON files
JSON_MAX_DEPTH = 64
PATH_MAX_CHARACTERS = 1024
PATH_PART_MAX_BYTES = 255

# orbital clips given to `construct`
CLIP_MIN_FRAMES = 2
CLIP_MAX_FRAMES = 512
CLIP_MAX_BYTES = 4 * GiB  # of all frames as float RGBA
DATASET_MAX_FRAMES = 10_000  # of one view of a sample; evaluation views may have many
