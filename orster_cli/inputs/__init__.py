"""Opens what commands accept: clips, models, subjects and references, by path or `dataset#key`."""
