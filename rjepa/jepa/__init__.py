"""The world model: what the latent of a reasoning step should be, given the prompt and the steps before it."""
