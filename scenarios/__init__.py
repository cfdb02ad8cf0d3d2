"""Scripted worlds: scenario files, the simulated hosts in them, the fabric they run on and the verdict."""
