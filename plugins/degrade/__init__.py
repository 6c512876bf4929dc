"""Degradations in physical units: a wider PSF, a noisier or fuller detector, less time, and what CSST would make of a frame."""
