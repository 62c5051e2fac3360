"""From candidates to an answer: energies, features, scores, the choice and its explanation."""
