"""Settings: their declaration, bounds and origins, from files, environment and command line."""
