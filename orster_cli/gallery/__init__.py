"""The gallery of artifacts: finds them under a folder, and serves a page of them on this machine."""
