def hull_mesh(orbit, *, where):
    raise NotImplementedError
