"""A model as it is handed over: with what its user must know of it, real images and answers, and a check of its own."""
