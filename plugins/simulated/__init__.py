"""The built-in simulated sky: galaxies and nebulae / star clusters as HST raw frames, rendered from a seed."""
