"""One adapter for each command: parse, resolve settings, open inputs, call the library, commit."""
