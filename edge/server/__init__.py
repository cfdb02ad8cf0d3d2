"""Trio shells of the PoP: the process, its listener and its metrics page. The only job here is to move and assemble."""
