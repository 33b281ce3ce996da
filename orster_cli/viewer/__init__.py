"""The viewer of an animated asset: one HTML file that asks for nothing."""
