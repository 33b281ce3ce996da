"""The terminal: options, messages, progress, tables and exit codes."""
