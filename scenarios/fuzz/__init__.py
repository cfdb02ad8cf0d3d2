"""Campaigns: faults nobody thought of, laws that must hold all the same, and the smallest scenario that breaks one."""
