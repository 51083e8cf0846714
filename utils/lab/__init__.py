"""What lessons and labs train with in PyTorch: networks for one seed, stacks of them, training, probes, processes."""
