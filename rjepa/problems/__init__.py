"""Where problems come from: our own curriculum, reasoning-gym, and files that a user imports."""
