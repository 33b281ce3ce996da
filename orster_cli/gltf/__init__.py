"""Reads glTF: node hierarchy, animations, skins, morph targets and materials; writes `.glb` files."""
