"""Artifacts to and from repositories of the Hugging Face hub."""
