"""What proposes crystals: training-free baselines now, learned families beside them."""
