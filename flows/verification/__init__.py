"""The calculations that decide: levels of verification as jobflow flows, run anywhere, settled once."""
