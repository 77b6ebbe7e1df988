"""The workshop that makes `data/`: the town of Brindle, its grammar, its small chat model."""
