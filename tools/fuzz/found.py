"""What the budget and a review of the readers found, and how it was mended: the last table of the page."""

# date, part, what was wrong, what happens now
FOUND = (
    (
        "2026-11-27", "gltf", "a GLB whose header says that it ends with the header: IndexError",
        "a typed error names the length",
    ),
    (
        "2026-11-27", "gltf, shards", "reading a file beside a .gltf, or an index, asked for 1 GiB before "
        "the first byte",
        "as many bytes are asked for as the file has",
    ),
    (
        "2026-11-27", "safetensors", "tensors of more than 64 dimensions were accepted, though torch "
        "cannot work with them; sizes beyond 64 bits in a shape: TypeError",
        "at most 16 dimensions, and a typed error",
    ),
    (
        "2026-11-27", "safetensors", "an `asset.json` that claims a large network took its memory (13 GB) "
        "before the tensors were compared",
        "the network is built without memory, after its numbers are checked",
    ),
    (
        "2026-11-27", "safetensors", "motions of huge, finite weights gave means that are not finite, and "
        "empty pictures",
        "a numerical error names the time",
    ),
    (
        "2026-11-27", "review", "`asset.json`: `looping` of a text counted as true, `cycles` of a text "
        "failed while rendering",
        "types and bounds are checked when it is opened",
    ),
    (
        "2026-11-27", "review", "crash reports, which hold the command line, were kept for ever",
        "the newest 10 are kept",
    ),
)  # fmt: skip
