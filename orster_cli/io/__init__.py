"""File formats: images, videos, clips, cameras, PLY, safetensors and published weight files."""
