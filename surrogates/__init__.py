"""What predicts: interatomic potentials, relaxation, and the worker processes that run them."""
