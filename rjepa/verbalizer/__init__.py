"""Latents back into words: a small decoder from a step's latent to its text, and to a bias on the next token's logits.

R-JEPA and the student stay as they are. What expects latents is `rjepa.jepa.expecting`; what an answer makes of the
words and the biases is a mode of `rjepa.reasoning`.
"""
