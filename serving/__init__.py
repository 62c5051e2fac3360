"""The service: an OpenAI-compatible chat and its page over the released R-JEPA. Imports rjepa, never rjepa_assets."""
