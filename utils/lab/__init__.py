"""What the labs train with: networks for one seed, stacks of them, training, probes, processes."""
