"""3D Gaussians: rasterizers for CPU and CUDA, HexPlane and the deformation field."""
