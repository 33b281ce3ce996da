PARTS = {}


def run_part(*a):
    pass
