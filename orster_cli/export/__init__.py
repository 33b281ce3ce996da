"""Takes an asset elsewhere: an animated mesh, splats, videos and pictures, each read back and measured."""
