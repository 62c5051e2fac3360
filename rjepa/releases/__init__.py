"""The release bundle: what is served, why, and what it replaced. `publish.release` is the entry point."""
