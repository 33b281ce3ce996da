"""The checks of `orster doctor`."""
