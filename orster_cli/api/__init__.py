"""The Python interface: what `import orster_cli as orster` offers, as thin as the commands.

Each function opens its inputs, resolves the settings and calls the library function that the command of
the same task calls, so that both give the same artifacts.
"""
